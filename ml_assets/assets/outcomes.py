"""`outcomes/<label>`: the labels that became known on the day, whatever day their events were on.

What belongs here: the stage. What does not: what a label is (`ml_assets/catalog/outcomes`).
"""

import polars as pl

from ml_assets.assets.stage import Body, Ready, Stage
from ml_assets.domain.code import code_fingerprint
from ml_assets.domain.day_frame import DayBatch
from ml_assets.domain.declared import Nature, Read
from ml_assets.domain.labels import LABEL_COLUMNS, judge_label_days, labels_by_known_day, refused_by_day
from ml_assets.domain.local_days import DAY
from ml_assets.domain.specs import Catalog, OutcomeSpec
from partitions import trailing_days


def _body(outcome: OutcomeSpec, _: Catalog) -> Body:
    calendar = outcome.calendar

    def body(ready: Ready) -> DayBatch:
        labels = labels_by_known_day(outcome, ready.inputs[outcome.source].rows)
        inside = pl.col(DAY).is_in(list(ready.days))
        rows = labels.rows.filter(inside).sort(DAY, "row_key")
        none = sorted(set(ready.days) - set(rows[DAY]))
        past_events = {day: "no label became known" for day in none if calendar.is_past(day)}
        judged = [day for day in ready.days if day not in past_events]
        refused = refused_by_day(labels, ready.days)
        return DayBatch(
            rows=rows,
            verdicts=judge_label_days(outcome, rows, judged, ready.hollow),
            empty=past_events,
            quarantined=labels.refused.filter(inside),
            notes={day: {"labels refused": f"{number}, in quarantine"} for day, number in refused.items()},
        )

    return body


STAGE = Stage(
    name="outcomes",
    of="outcomes",
    nature=Nature.FACT,
    holds="labels that became **known** on D",
    describe=lambda outcome: outcome.description,
    # Past the last event day there are no events to need: what is there of the look-back is read.
    reads=lambda outcome, _: {
        outcome.source: Read(f"events/{outcome.source}", trailing_days(outcome.calendar.label_lag_days), needed=True)
    },
    code_version=lambda outcome, _: code_fingerprint(outcome.compute),
    body=_body,
    kinds=frozenset({"polars", "deltalake"}),
    columns=lambda _outcome, _catalog: LABEL_COLUMNS,
    past_end=True,
)
