"""`events/<source>`: validated rows whose event date is the day, from the day's own extract.

What belongs here: the factory. What does not: contracts (`ml_assets/catalog/sources`).
"""

from datetime import date

import polars as pl
from dagster import AssetsDefinition

from ml_assets.assets.keys import key
from ml_assets.assets.partitioned import Frame, Ready, partitioned_asset
from ml_assets.domain.content import code_fingerprint
from ml_assets.domain.contracts import DayLimits, judge_days, refused_rows, split_rows
from ml_assets.domain.day_frame import DayBatch
from ml_assets.domain.local_days import DAY
from ml_assets.domain.specs import SourceSpec
from ml_assets.domain.verdict import Verdict


def events_asset(source: SourceSpec) -> AssetsDefinition:
    """The validated events of a source; bad rows go to `quarantine/<source>` with their reasons."""
    limits = DayLimits(min_rows=source.min_rows, key=source.keys, max_null_share=source.max_null_share)

    def body(ready: Ready) -> DayBatch:
        read = ready.context.resources.extracts.extracts().read(source, ready.days)
        unreadable = {day: Verdict(passed=False, reasons=(reason,)) for day, reason in read.unreadable.items()}
        if read.rows is None:
            return DayBatch(rows=pl.DataFrame(), verdicts=unreadable)
        split = split_rows(read.rows, source.contract)
        bad: dict[date, int] = dict(split.bad.group_by(DAY).len().iter_rows())
        readable = [day for day in ready.days if day not in read.unreadable]
        verdicts = judge_days(split.good, readable, limits, bad_rows=bad, max_bad_row_share=source.max_bad_row_share)
        refused = refused_rows(split, verdicts)
        return DayBatch(rows=split.good, verdicts={**verdicts, **unreadable}, quarantined=refused)

    return partitioned_asset(
        Frame(
            key=key("events", source.name),
            calendar=source.calendar,
            group="events",
            kinds=frozenset({"polars", "deltalake"}),
            description=source.description,
            code_version=code_fingerprint(source.parse),
            parents={},
            check_description=f"Rows keep the contract {source.contract.__name__}; rows and nulls are within limits.",
        ),
        body,
        required_resources=frozenset({"extracts"}),
    )
