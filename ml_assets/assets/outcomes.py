"""`outcomes/<label>`: the labels that became known on the day, whatever day their events were on.

What belongs here: the stage. What does not: what a label is (`ml_assets/catalog/outcomes`).
"""

import polars as pl

from ml_assets.assets.stage import Body, Ready, Stage
from ml_assets.domain.content import code_fingerprint
from ml_assets.domain.contracts import DayLimits, judge_days
from ml_assets.domain.day_frame import DayBatch
from ml_assets.domain.declared import Nature, Read
from ml_assets.domain.errors import CalendarError
from ml_assets.domain.local_days import DAY, local_day
from ml_assets.domain.specs import Catalog, OutcomeSpec
from partitions import trailing_days

COLUMNS = {
    "row_key": "what the label is of",
    "event_time": "when that event was (UTC)",
    "known_at": "when the label became known (UTC)",
    "label": "1 for a positive, 0 for a negative",
}


def _body(outcome: OutcomeSpec, _: Catalog) -> Body:
    calendar = outcome.calendar
    limits = DayLimits(min_rows=outcome.min_rows, key=("row_key",), required=tuple(COLUMNS))

    def body(ready: Ready) -> DayBatch:
        labels = labels_by_known_day(outcome, ready.inputs[outcome.source].rows)
        rows = labels.filter(pl.col(DAY).is_in(list(ready.days))).sort(DAY, "row_key")
        none = sorted(set(ready.days) - set(rows[DAY]))
        past_events = {day: "no label became known" for day in none if day >= calendar.end_day}
        judged = [day for day in ready.days if day not in past_events]
        return DayBatch(rows=rows, verdicts=judge_days(rows, judged, limits), empty=past_events)

    return body


def labels_by_known_day(outcome: OutcomeSpec, events: pl.LazyFrame) -> pl.DataFrame:
    """Every label of the events, dated by the local day on which it became known.

    Raises CalendarError for a label that becomes known later than the calendar's label lag: its day's
    partition would never read its event, and the label would be lost in silence.
    """
    calendar = outcome.calendar
    labels = (
        outcome.compute(events)
        .with_columns(local_day(pl.col("known_at"), calendar.timezone).alias(DAY))
        .select(DAY, *COLUMNS)
        .collect()
    )
    lag = (pl.col(DAY) - local_day(pl.col("event_time"), calendar.timezone)).dt.total_days()
    late = labels.filter(lag > calendar.label_lag_days)
    if late.height:
        row_key, known_at = late.row(0, named=True)["row_key"], late.row(0, named=True)["known_at"]
        raise CalendarError(
            f"outcomes/{outcome.name}: the label of {row_key} becomes known at {known_at}, more than "
            f"{calendar.label_lag_days} days after its event ({late.height} such rows). Raise label_lag_days of "
            f"the calendar {calendar.name!r}."
        )
    return labels


STAGE = Stage(
    name="outcomes",
    of="outcomes",
    nature=Nature.FACT,
    holds="labels that became **known** on D",
    group=lambda _: "outcomes",
    describe=lambda outcome: outcome.description,
    # Past the last event day there are no events to need: what is there of the look-back is read.
    reads=lambda outcome, _: {
        outcome.source: Read(f"events/{outcome.source}", trailing_days(outcome.calendar.label_lag_days), needed=True)
    },
    code_version=lambda outcome, _: code_fingerprint(outcome.compute),
    body=_body,
    kinds=frozenset({"polars", "deltalake"}),
    columns=lambda _outcome, _catalog: COLUMNS,
    past_end=True,
)
