"""Labels, dated by the local day on which they became known.

What belongs here: from an outcome's function to rows of `outcomes/<label>`, their verdicts, labels that come too late.
What does not: what a label is (`ml_assets/catalog/outcomes`), which labels a training set takes (`training_rows.py`).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType

import polars as pl

from ml_assets.domain.contracts import DayLimits, judge_days
from ml_assets.domain.local_days import DAY, local_day
from ml_assets.domain.specs import OutcomeSpec
from ml_assets.domain.verdict import Verdict, combine

LABEL_COLUMNS = {
    "row_key": "what the label is of",
    "event_time": "when that event was (UTC)",
    "known_at": "when the label became known (UTC)",
    "label": "1 for a positive, 0 for a negative",
}


@dataclass(frozen=True, slots=True)
class DatedLabels:
    """Labels by the day on which they became known, and those that become known later than declared.

    `refused` ones are dated by the last day on which a label of their event may come; `reasons` and `payload` say why
    and what.
    """

    rows: pl.DataFrame
    refused: pl.DataFrame


def labels_by_known_day(outcome: OutcomeSpec, events: pl.LazyFrame) -> DatedLabels:
    """Every label of the events, dated by the local day on which it became known, at the earliest that of its event.

    A label may be known on a day before its event (it is off, or came before it was promised), whose partition does not
    read the event. Nor does that of a label that becomes known more than the calendar's label lag after its event: such
    labels are set aside with the reason, and the others are as if there were none.
    """
    calendar = outcome.calendar
    known_day, event_day = (local_day(pl.col(name), calendar.timezone) for name in ("known_at", "event_time"))
    dated = (
        outcome.compute(events)
        .with_columns(
            pl.when(known_day.is_not_null()).then(pl.max_horizontal(known_day, event_day)).alias(DAY),
            event_day.alias("event_day"),
        )
        .collect()
    )
    late = (pl.col(DAY) - pl.col("event_day")).dt.total_days() > calendar.label_lag_days
    reason = (
        f"the label becomes known more than label_lag_days = {calendar.label_lag_days} days after its event; if that "
        f"is how it is, raise label_lag_days of the calendar {calendar.name!r}"
    )
    refused = dated.filter(late).select(
        (pl.col("event_day") + pl.duration(days=calendar.label_lag_days)).alias(DAY),
        pl.lit([reason], dtype=pl.List(pl.String)).alias("reasons"),
        pl.struct(*LABEL_COLUMNS).struct.json_encode().alias("payload"),
    )
    return DatedLabels(dated.filter(~late.fill_null(value=False)).select(DAY, *LABEL_COLUMNS), refused)


def judge_label_days(
    outcome: OutcomeSpec, rows: pl.DataFrame, days: Sequence[date], hollow: Mapping[date, str] = MappingProxyType({})
) -> dict[date, Verdict]:
    """One verdict a day: rows, nulls and keys within limits, and every label 0 or 1.

    Days that are `hollow` need no rows, with the reason: what they are computed from holds none.
    """
    limits = DayLimits(min_rows=outcome.min_rows, key=("row_key",), required=tuple(LABEL_COLUMNS))
    verdicts = judge_days(rows, days, limits, hollow=hollow)
    strange = rows.filter(~pl.col("label").cast(pl.Int64).is_in([0, 1]))
    for (day,), found in strange.partition_by(DAY, as_dict=True).items():
        first = found.row(0, named=True)
        reason = (
            f"{found.height} labels are neither 0 nor 1, first {first['label']} of {first['row_key']!r}: give 1 for "
            "what the model is to predict"
        )
        verdicts[day] = combine([verdicts[day], Verdict(passed=False, reasons=(reason,))])
    return verdicts


def refused_by_day(labels: DatedLabels, days: Collection[date]) -> dict[date, int]:
    """How many labels each of the days sets aside."""
    counted = labels.refused.filter(pl.col(DAY).is_in(list(days))).group_by(DAY).len()
    return dict(counted.iter_rows())
