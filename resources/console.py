"""Dagster's console, whose lines hold no secret.

What belongs here: the logger that every run prints with. What does not: what a secret is (`redaction.py`).
"""

import logging

from dagster import InitLoggerContext, colored_console_logger, logger

from resources.redaction import without_secrets


class _Redacted(logging.Formatter):
    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        return without_secrets(self._inner.format(record))


@logger(colored_console_logger.config_schema, description="Dagster's coloured console without secrets.")
def redacted_console(context: InitLoggerContext) -> logging.Logger:
    """Dagster's console logger, whose lines hold no secret."""
    console: logging.Logger = colored_console_logger.logger_fn(context)
    for handler in console.handlers:
        if handler.formatter:
            handler.setFormatter(_Redacted(handler.formatter))
    return console
