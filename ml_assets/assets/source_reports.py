"""`source_reports/<source>`: what is unusual about the day's accepted rows, against accepted days before it.

What belongs here: the stage. What does not: rules and limits (`ml_assets/domain/alarms`).
"""

import polars as pl

from ml_assets.assets.stage import Body, Ready, Stage
from ml_assets.domain.alarms.reports import (
    REMEMBERED_DAYS,
    REPORT_COLUMNS,
    REPORTS,
    alarm_verdicts,
    look_back,
    rules,
    with_outcome,
)
from ml_assets.domain.alarms.sources import source_reports
from ml_assets.domain.code import code_fingerprint
from ml_assets.domain.content import fingerprint
from ml_assets.domain.contracts import DayLimits, judge_days
from ml_assets.domain.day_frame import DayBatch
from ml_assets.domain.declared import Nature, Read
from ml_assets.domain.local_days import DAY
from ml_assets.domain.specs import Catalog, SourceSpec
from partitions import trailing_days, window_before

# No source can have this name.
BEFORE = "its days before"
LIMITS = DayLimits(key=("rule", "subject", "segment"), required=("rule", "subject", "segment", "value", "verdict"))


def _body(source: SourceSpec, _: Catalog) -> Body:
    def body(ready: Ready) -> DayBatch:
        past = ready.inputs[BEFORE]
        before = past.rows.collect() if past.filled else pl.DataFrame(schema=REPORTS)
        # What this run makes of a day stands in the place of what was on record of it.
        others = before.filter(~pl.col(DAY).is_in([*ready.days, *ready.blocked]))
        # Of a day without delivery there is nothing to say; one that should have rows and has none is told as such.
        empty = {day: why for day, why in ready.hollow.items() if not source.delivers(day)}
        days = [day for day in ready.days if day not in empty]
        rows = source_reports(source, ready.inputs[source.name].rows.collect(), others, days)
        return DayBatch(rows=rows, verdicts=judge_days(rows, days, LIMITS), empty=empty, notes=with_outcome(rows))

    return body


STAGE = Stage(
    name="source_reports",
    of="sources",
    nature=Nature.FACT,
    holds="what was measured of D's rows, what is usual, and what is further from it than the limit",
    describe=lambda source: f"What is unusual about a day of {source.name}, and how sure that is.",
    reads=lambda source, _: {
        source.name: Read(f"events/{source.name}", trailing_days(look_back(rules())), needed=True),
        BEFORE: Read(f"source_reports/{source.name}", window_before(REMEMBERED_DAYS), edge=False),
    },
    code_version=lambda source, _: fingerprint(
        source.alarm_budget,
        {str(day): why for day, why in source.cleared.items()},
        {rule.name: code_fingerprint(rule.prepare) for rule in rules()},
    ),
    body=_body,
    kinds=frozenset({"polars", "deltalake"}),
    columns=lambda _source, _catalog: REPORT_COLUMNS,
    empty=REPORTS,
    box="source_reports",
    alarms=alarm_verdicts,
)
