"""`features/<group>`: feature rows, each with the instant from which it could have been known.

What belongs here: the stage. What does not: the feature functions (`ml_assets/catalog/features`), what is stored of
a day and its verdict (`ml_assets/domain/feature_days.py`).
"""

from collections.abc import Mapping
from datetime import date

from ml_assets.assets.stage import Body, Ready, Stage
from ml_assets.domain.code import code_fingerprint
from ml_assets.domain.day_frame import DayBatch
from ml_assets.domain.declared import Nature, Read
from ml_assets.domain.feature_days import cut_to_days, judge_feature_days
from ml_assets.domain.snapshots import carried_from, with_carried_over
from ml_assets.domain.specs import Catalog, FeatureGroupSpec
from partitions import DayRange, trailing_days

# No source can have this name.
BEFORE = "its days before"


def _body(group: FeatureGroupSpec, _: Catalog) -> Body:
    def body(ready: Ready) -> DayBatch:
        events = {source: ready.inputs[source].rows for source in group.inputs}
        rows = cut_to_days(group, group.compute(events), ready.days)
        verdicts = judge_feature_days(group, rows, ready.days, ready.hollow)
        blocked: Mapping[date, str] = {}
        if group.carries_over:
            refused = {*ready.blocked, *(day for day, verdict in verdicts.items() if not verdict.passed)}
            rows, blocked = with_carried_over(group, rows, ready.days, refused, ready.inputs[BEFORE])
        return DayBatch(
            rows=rows,
            verdicts={day: verdict for day, verdict in verdicts.items() if day not in blocked},
            blocked=blocked,
            notes=missing_look_back(group, ready),
            add_columns=frozenset(group.added_values),
        )

    return body


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


def _reads(group: FeatureGroupSpec, _: Catalog) -> Mapping[str, Read]:
    events = {
        source: Read(f"events/{source}", trailing_days(group.look_back_days), needed=True) for source in group.inputs
    }
    if not group.carries_over:
        return events
    return {**events, BEFORE: Read(f"features/{group.name}", carried_from(), edge=False)}


def _columns(group: FeatureGroupSpec, _: Catalog) -> Mapping[str, str]:
    return {
        **dict.fromkeys(group.entity, f"what a row of {group.name} is about"),
        "event_time": "the instant the values describe (UTC)",
        "known_at": "the instant from which they could have been known (UTC)",
        **group.described,
    }


STAGE = Stage(
    name="features",
    of="features",
    nature=Nature.FACT,
    holds="feature rows, each with the instant from which it could have been known",
    describe=lambda group: group.description,
    reads=_reads,
    code_version=lambda group, _: code_fingerprint(group.compute),
    body=_body,
    kinds=frozenset({"polars", "deltalake"}),
    columns=_columns,
)
