"""`features/<group>`: feature rows, each with the instant from which it could have been known.

What belongs here: the factory. What does not: the feature functions (`ml_assets/catalog/features`).
"""

from collections.abc import Mapping
from datetime import date

import polars as pl
from dagster import AssetsDefinition

from ml_assets.assets.keys import key
from ml_assets.assets.partitioned import Frame, Ready, parent, partitioned_asset
from ml_assets.domain.content import code_fingerprint
from ml_assets.domain.contracts import DayLimits, judge_days
from ml_assets.domain.day_frame import DayBatch
from ml_assets.domain.local_days import DAY, local_day
from ml_assets.domain.specs import FeatureGroupSpec
from partitions import DayRange, trailing_days


def features_asset(group: FeatureGroupSpec) -> AssetsDefinition:
    """The rows of a feature group: computed with its look-back, cut to the days asked for."""
    limits = DayLimits(
        min_rows=group.min_rows,
        key=(*group.entity, "known_at"),
        required=(*group.entity, "event_time", "known_at"),
        max_null_share=group.max_null_share,
    )

    def body(ready: Ready) -> DayBatch:
        events = {source: ready.inputs[source].rows for source in group.inputs}
        rows = cut_to_days(group, group.compute(events), ready.days)
        verdicts = judge_days(rows, ready.days, limits)
        return DayBatch(
            rows=rows,
            verdicts=verdicts,
            notes=missing_look_back(group, ready),
            add_columns=frozenset(group.added_values),
        )

    return partitioned_asset(
        Frame(
            key=key("features", group.name),
            calendar=group.calendar,
            group="features",
            kinds=frozenset({"polars", "deltalake"}),
            description=group.description,
            code_version=code_fingerprint(group.compute),
            parents={
                source: parent(
                    key("events", source), trailing_days(group.look_back_days), group.calendar, same_day=True
                )
                for source in group.inputs
            },
        ),
        body,
    )


def cut_to_days(group: FeatureGroupSpec, rows: pl.LazyFrame, days: tuple[date, ...]) -> pl.DataFrame:
    """The rows of the given days, with their `partition_date`, sorted by day, entity and time."""
    return (
        rows.with_columns(local_day(pl.col("event_time"), group.calendar.timezone).alias(DAY))
        .filter(pl.col(DAY).is_in(list(days)))
        .select(DAY, *group.entity, "event_time", "known_at", *group.values)
        .sort(DAY, *group.entity, "known_at")
        .collect()
    )


def missing_look_back(group: FeatureGroupSpec, ready: Ready) -> Mapping[date, Mapping[str, object]]:
    """For each day whose look-back lacks days of events, which ones: the day is computed without them."""
    notes: dict[date, Mapping[str, object]] = {}
    for day in ready.days:
        window = DayRange(day, day).extended(back=group.look_back_days)
        lacking = [
            f"events/{source} {earlier}"
            for source in group.inputs
            for earlier in window
            if earlier >= group.calendar.first_day and earlier not in ready.inputs[source].days
        ]
        if lacking:
            notes[day] = {"computed without": ", ".join(lacking)}
    return notes
