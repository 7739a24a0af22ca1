"""What counts as a secret, in which forms it is found, and that Dagster's console prints none.

What belongs here: texts with and without secrets. What does not: real runs (`test_secrets.py`, `test_faults_told.py`).
"""

import json
from urllib.parse import quote

import pytest
from dagster import build_init_logger_context

from resources.console import redacted_console
from resources.redaction import without_secrets
from resources.settings import secrets

SECRET = 'wJalr/K7+bPx"Rf=='


@pytest.fixture(autouse=True)
def _planted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ML_ASSETS_STORAGE_SECRET_ACCESS_KEY", SECRET)


@pytest.mark.parametrize(
    "written", [SECRET, quote(SECRET), quote(SECRET, safe=""), json.dumps(SECRET), repr(SECRET), f"k={SECRET};"]
)
def test_a_secret_is_found_however_it_is_written(written: str) -> None:
    said = without_secrets(f"403 for {written}, sorry")
    assert "***" in said
    assert "wJalr" not in said
    assert said.startswith("403 for ")
    assert said.endswith(", sorry")


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("ML_ASSETS_STORAGE_ACCOUNT_KEY", "abcdefgh", True),
        ("ML_ASSETS_STORAGE_WHATEVER_NEW", "abcdefgh", True),
        ("ML_ASSETS_STORAGE_REGION", "eu-central-1", False),
        ("ML_ASSETS_STORAGE_ALLOW_HTTP", "true", False),
        ("ML_ASSETS_STORAGE_ENDPOINT", "http://127.0.0.1:9000", False),
        ("ML_ASSETS_STORAGE_ENDPOINT", "http://user:word@127.0.0.1:9000", True),
        ("ML_ASSETS_STORAGE_ENDPOINT_TOKEN", "abcdefgh", True),
        ("AWS_SECRET_ACCESS_KEY", "abcdefgh", True),
        ("AWS_REGION", "eu-central-1", False),
        ("SOMETHING_ELSE", "abcdefgh", False),
    ],
)
def test_what_counts_as_a_secret(name: str, value: str, secret: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    assert (value in secrets()) is secret


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("https://box.blob.core.windows.net/a?sv=2024&sig=AbC%2Fd&se=1", "AbC"),
        ("https://b.s3/x?X-Amz-Credential=AKIA1&X-Amz-Signature=00ff", "00ff"),
        ("headers: {'authorization': 'Bearer ey.J0'}", "ey.J0"),
        ("s3://user:word@bucket/lake", "word"),
    ],
)
def test_signed_urls_and_headers_are_hidden_whosever_they_are(text: str, hidden: str) -> None:
    assert hidden in text
    assert hidden not in without_secrets(text)


@pytest.mark.parametrize(
    "text",
    ["s3://bucket/lake/events/flights: not found", "12:30:01 - step@host - partition_date=2013-03-05", "design=1"],
)
def test_other_texts_are_left_alone(text: str) -> None:
    assert without_secrets(text) == text


def test_lines_of_a_key_are_found_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "ML_ASSETS_STORAGE_SERVICE_ACCOUNT_KEY", "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG\n-----END KEY-----"
    )
    assert without_secrets("line 2: MIIEvQIBADANBgkqhkiG?") == "line 2: ***?"


def test_the_console_prints_no_secret() -> None:
    console = redacted_console(build_init_logger_context(logger_config={"log_level": "INFO", "name": "dagster"}))
    (handler,) = console.handlers
    error = OSError(f"denied: {SECRET}")
    record = console.makeRecord("dagster", 40, "f", 1, "the store said %s", (SECRET,), (OSError, error, None))
    printed = handler.format(record)
    assert "the store said ***" in printed
    assert "OSError: denied: ***" in printed
    assert "wJalr" not in printed
