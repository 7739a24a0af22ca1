"""A prediction's explanation in the terminal: what was said and by whom, then every feature with where it came from.

What belongs here: laying out `Explanation` for rich. What does not: gathering it (`explain.py`).
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from ml_assets.explain import Explanation, Value

INSTANT = "%Y-%m-%d %H:%M"


class TerminalExplanation:
    """An explanation for rich: lines of what was said and why, the features by importance, what has changed since."""

    def __init__(self, found: Explanation) -> None:
        self.found = found

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        found = self.found
        yield Text(f"{found.table} {found.day} {found.row_key}", style="bold")
        lines = Table(box=None, show_header=False, pad_edge=False)
        lines.add_column(style="dim", no_wrap=True)
        lines.add_column(overflow="fold")
        for name, said in _lines(found):
            lines.add_row(name, said)
        yield lines
        yield _values(found)
        for line in found.changed:
            yield Text(f"- {line}")
        if found.identical:
            yield Text("The recorded inputs give the same score and probability once more, to the last bit.")
        else:
            yield Text(
                f"The recorded inputs give score {found.score_again!r} and probability {found.probability_again!r} by "
                "today's code: not what is on record.",
                style="bold",
            )


def _lines(found: Explanation) -> Iterator[tuple[str, str]]:
    yield "probability", f"{found.probability:.4f}, from the raw score {found.score:.4f}"
    yield "asked", f"{_at(found.prediction_time)} UTC, about {_at(found.event_time)} UTC"
    came = "not known yet" if found.label is None else f"{found.label}, known since {_at(found.label_known_at)} UTC"
    yield "came true", came
    calibrator = found.calibrator
    fitted = f"fitted on {calibrator['held-out rows']:,} held-out rows"
    yield "calibrator", f"{calibrator['version']}: {calibrator['method']}, {fitted}; {calibrator['why']}"
    model, decision = found.model, found.decision
    judged = "" if model["judged_by"] == model["model_version"] else f", judged by its twin {model['judged_by']}"
    yield "model", f"{model['model_version']}: {model['role']}{judged}; seed {model['seed']}"
    yield "trained", f"{decision['day']} because of {decision['trigger']}: {'; '.join(decision['reasons'])}"
    yield "serves", f"{decision['decision']}: {decision['reason']}"
    for name, said in found.slices.items():
        yield f"slice {name}", said
    record = found.record
    yield "record", f"version {record['version']}, run {record['run']}, code {record['code version']}"


def _values(found: Explanation) -> Table:
    shown = Table(title="features, the most important first; instants in UTC")
    for name in ("feature", "value", "importance", "known at", "about", "row of", "computed from"):
        shown.add_column(name, justify="right" if name in {"value", "importance"} else "left", overflow="fold")
    for value in found.values:
        shown.add_row(
            value.feature,
            _value(value),
            "" if value.importance is None else f"{value.importance:.4f}",
            _at(value.known_at),
            _at(value.event_time),
            f"{value.table} {value.day} (version {value.version})" if value.day else value.table,
            "; ".join((*([value.why_null] if value.why_null else ()), *value.sources)),
        )
    return shown


def _value(value: Value) -> str:
    held: Any = value.value
    if held is None:
        return "null"
    return f"{held:g}" if isinstance(held, float) else str(held)


def _at(instant: datetime | None) -> str:
    return f"{instant:{INSTANT}}" if instant else ""
