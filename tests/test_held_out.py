"""A day's calibrator sees scores of models that were not fitted on their events, and labels known before the day."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_assets.catalog.calendars import FLIGHTS
from ml_assets.domain.calibration import HeldOut
from ml_assets.domain.held_out import Judged, ScoredDays, days_before, judged_for, opponent_of, scorers
from ml_assets.domain.local_days import DAY
from ml_assets.domain.serving import JUDGED, REFIT, Stored, fitted_until
from ml_assets.domain.slices import Slice, Slices
from ml_assets.domain.specs import Maturity
from partitions import DayRange

TRAINED = date(2024, 3, 20)


def stored(role: str, trained: date = TRAINED, version: str = "new") -> Stored:
    """A stored candidate of a training day: 30 days of train, 4 held out, 6 of the gate, up to the day before."""
    bounds = [trained - timedelta(days=back) for back in (40, 10, 6, 0)]
    parts = [Slice(DayRange(start, end), 9, 9, 3) for start, end in pairwise(bounds)]
    return {"model_version": version, "judged_by": "judge", "role": role, "slices": Slices(*parts).to_json()}


def test_a_refit_has_seen_all_slices_and_what_was_judged_its_own():
    assert fitted_until(stored(REFIT)) == TRAINED
    assert fitted_until(stored(JUDGED)) == TRAINED - timedelta(days=10)
    assert judged_for(stored(REFIT)) == Judged("judge", DayRange(TRAINED - timedelta(days=10), TRAINED))


@given(role=st.sampled_from([REFIT, JUDGED]), cadence=st.integers(1, 60))
def test_the_gate_compares_with_whom_newer_days_can_be_told_from(role, cadence):
    """At any cadence of trainings, one as long as held-out and gate together included."""
    champion = stored(role, version="judge" if role == JUDGED else "new")
    challenger = stored(JUDGED, TRAINED + timedelta(days=cadence), "challenger")
    gate_begins = TRAINED + timedelta(days=cadence - 6)
    found = opponent_of(challenger, champion, gate_begins)
    opponent = champion if found == champion["model_version"] else stored(JUDGED, version="judge")
    assert opponent["model_version"] == found
    assert fitted_until(opponent) <= gate_begins, "it was fitted on days that it is asked about"
    assert fitted_until(opponent) < fitted_until(challenger), "it knows all that the challenger knows"


def test_the_gate_compares_with_the_champion_itself_where_it_can():
    champion, late = stored(REFIT), TRAINED + timedelta(days=11)
    assert opponent_of(stored(JUDGED, late), champion, late - timedelta(days=6)) == "new"
    sooner = late - timedelta(days=1)
    assert opponent_of(stored(JUDGED, sooner), champion, sooner - timedelta(days=6)) == "judge"


@given(
    role=st.sampled_from([REFIT, JUDGED]),
    day=st.integers(0, 40),
    served=st.sets(st.integers(-60, 40)),
    first=st.one_of(st.none(), st.tuples(st.integers(-50, 10), st.integers(0, 12))),
)
def test_nobody_scores_a_day_that_it_was_fitted_on(role, day, served, first):
    champion = stored(role)
    at = TRAINED + timedelta(days=day)
    by_served = {TRAINED + timedelta(days=each): "old" for each in served if each < day}
    judged = None
    if first is not None:
        start = TRAINED + timedelta(days=first[0])
        judged = Judged("first judge", DayRange(start, start + timedelta(days=first[1])))
    found = scorers(champion, by_served, judged, days_before(at, 28))
    for past in (at - timedelta(days=back) for back in range(1, 29)):
        if past >= fitted_until(champion):
            assert found[past] == "new"
        elif past in by_served:
            assert found[past] == "old"
        elif judged and past in judged.days:
            assert found[past] == "first judge"
        else:
            assert past not in found
    assert all(past < at for past in found)


def instant(day: date, hour: int) -> datetime:
    return datetime(day.year, day.month, day.day, hour, tzinfo=UTC)


@pytest.fixture(scope="module")
def rows() -> pl.DataFrame:
    """Ten events a day for ten days; the label of event n comes n × 6 hours after midnight of its day."""
    days = [TRAINED + timedelta(days=day) for day in range(10) for _ in range(10)]
    known = [instant(day, 0) + timedelta(hours=6 * (place % 10)) for place, day in enumerate(days)]
    draw = np.random.default_rng(0)
    return pl.DataFrame(
        {
            DAY: days,
            "score": draw.random(100),
            "label": draw.integers(0, 2, 100),
            "known_at": pl.Series(known, dtype=pl.Datetime("us", "UTC")),
        }
    )


CALENDAR = replace(FLIGHTS, timezone="UTC", label_lag_days=4)


def of_day(scored: ScoredDays, maturity: Maturity, at: date, hour: int, by: dict[date, str]) -> HeldOut:
    return scored.held_out(maturity, CALENDAR, at, int(instant(at, hour).timestamp()) * 1_000_000, by)


@given(day=st.integers(1, 12), hour=st.integers(0, 23), age=st.integers(1, 5), left_out=st.sets(st.integers(0, 9)))
def test_only_labels_known_before_the_instant_of_cohorts_that_count_as_known(rows, day, hour, age, left_out):
    at = TRAINED + timedelta(days=day)
    by = {past: "v" for place in range(10) if place not in left_out and (past := TRAINED + timedelta(days=place)) < at}
    found = of_day(ScoredDays.of("v", rows), Maturity(age_days=age), at, hour, by)
    mature = [past for past in by if (at - past).days >= age]
    expected = rows.filter(pl.col(DAY).is_in(mature), pl.col("known_at") < instant(at, hour))
    assert found.scores.tolist() == expected["score"].to_list()
    assert found.labels.tolist() == expected["label"].to_list()
    newest = expected[DAY].max()
    assert found.ages.tolist() == [(newest - past).days + 1 for past in expected[DAY]]


def test_by_share_a_cohort_counts_once_enough_of_its_events_have_a_label_or_none_can_come_any_more(rows):
    """Of the ten labels of a day four are known at the next midnight, eight a day later, all two days later."""
    scored = ScoredDays.of("v", rows.with_columns(label=pl.when(pl.col("score") > 0.0).then("label")))
    at = TRAINED + timedelta(days=9)
    by = {TRAINED + timedelta(days=place): "v" for place in range(9)}
    newest = {share: at - timedelta(days=back) for share, back in ((0.3, 1), (0.75, 2), (0.9, 3))}
    for share, day in newest.items():
        found = of_day(scored, Maturity(label_share=share), at, 0, by)
        known = rows.filter(pl.col(DAY) <= day, pl.col("known_at") < instant(at, 0))
        assert len(found) == known.height, share


def test_versions_are_kept_apart(rows):
    other = rows.with_columns(score=pl.lit(0.5))
    both = ScoredDays.of("v", rows).also(ScoredDays.of("w", other))
    past = [TRAINED, TRAINED + timedelta(days=1)]
    at = TRAINED + timedelta(days=9)
    mixed = of_day(both, Maturity(age_days=1), at, 0, {past[0]: "v", past[1]: "w"})
    assert mixed.scores[:10].tolist() == rows["score"][:10].to_list()
    assert mixed.scores[10:].tolist() == [0.5] * 10
    assert len(of_day(both, Maturity(age_days=1), at, 0, {past[0]: "nobody"})) == 0
