"""Which scores a day's calibrator is fitted on: those of events that the scoring model was not fitted on.

What belongs here: who scores each past day, whom the gate compares with, gathering the rows whose labels were known
before the day began.
What does not: the fit (`calibration.py`), finding stored models and rows (`ml_assets/assets`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt
import polars as pl

from ml_assets.domain.calibration import HeldOut
from ml_assets.domain.local_days import DAY
from ml_assets.domain.serving import SCORE, Stored, fitted_until
from ml_assets.domain.slices import Slices, mature
from ml_assets.domain.specs import Calendar, Maturity
from partitions import DayRange

Scorers = dict[date, str]


@dataclass(frozen=True, slots=True)
class Judged:
    """What was judged in place of a model that serves, and the days it was not fitted on."""

    version: str
    days: DayRange


def judged_for(stored_model: Stored) -> Judged:
    """The candidate that the gate looked at for a stored model, on its own held-out days and the gate's."""
    slices = Slices.from_json(str(stored_model["slices"]))
    return Judged(str(stored_model["judged_by"]), DayRange(slices.held_out.days.start, slices.gate.days.end))


def opponent_of(judged: Stored, champion: Stored, gate_begins: date) -> str:
    """Whom the gate compares a challenger's judged candidate with: the champion, or what was judged in its place.

    In its place where the champion was fitted on days of the gate, and where it was fitted on all that the judged one
    was: two models of the same days would differ by nothing, whatever newer days have to teach. What was judged for
    each is as far from the days it is asked about, so any cadence of trainings is judged alike.
    """
    until = fitted_until(champion)
    apart = until <= gate_begins and until < fitted_until(judged)
    return str(champion["model_version" if apart else "judged_by"])


def scorers(champion: Stored, served: Mapping[date, str], first: Judged | None, past: Iterable[date]) -> Scorers:
    """Who scores each past day: the champion where it was not fitted on it, else who served it, else who was judged
    for the first champion of all. A day that nobody has left out has no scorer.
    """
    own = fitted_until(champion)
    found: Scorers = {}
    for day in past:
        if day >= own:
            found[day] = str(champion["model_version"])
        elif day in served:
            found[day] = served[day]
        elif first is not None and day in first.days:
            found[day] = first.version
    return found


@dataclass(frozen=True, slots=True)
class ScoredDay:
    """The events of a day as one model scores them: how many, and of those with a label the score, the label, and
    when the label became known (µs).
    """

    events: int
    scores: npt.NDArray[np.float64]
    labels: npt.NDArray[np.float64]
    known_at: npt.NDArray[np.int64]

    @classmethod
    def of(cls, rows: pl.DataFrame) -> "ScoredDay":
        """Of rows with `score`, and `label` and `known_at`, null where there is no label yet."""
        labelled = rows.filter(pl.col("label").is_not_null())
        return cls(
            rows.height,
            labelled[SCORE].to_numpy(),
            labelled["label"].cast(pl.Float64).to_numpy(),
            labelled["known_at"].dt.timestamp("us").to_numpy(),
        )


@dataclass(frozen=True, slots=True)
class ScoredDays:
    """Scored events by scoring version and event day."""

    parts: Mapping[tuple[str, date], ScoredDay]

    @classmethod
    def of(cls, version: str, rows: pl.DataFrame) -> "ScoredDays":
        """Events with `partition_date`, `score`, `label` and `known_at`, scored by one version."""
        by_day = rows.partition_by(DAY, as_dict=True, maintain_order=True)
        return cls({(version, day): ScoredDay.of(part) for (day,), part in by_day.items()})

    def also(self, other: "ScoredDays") -> "ScoredDays":
        """Both together."""
        return ScoredDays({**self.parts, **other.parts})

    def held_out(self, maturity: Maturity, calendar: Calendar, day: date, began_us: int, by: Scorers) -> HeldOut:
        """The rows of the days that `by` names, with labels known before the instant `began_us`, oldest day first.

        Only cohorts that count as known when `day` begins: the first labels of a cohort are not like its others. Ages
        are counted from the newest of them.
        """
        there = [
            (past, self.parts[version, past]) for past, version in sorted(by.items()) if (version, past) in self.parts
        ]
        known = {past: part.known_at < began_us for past, part in there}
        cohorts = pl.DataFrame(
            [(past, part.events, int(known[past].sum())) for past, part in there],
            schema={"event_day": pl.Date, "events": pl.Int64, "known": pl.Int64},
            orient="row",
        )
        counting = set(cohorts.filter(mature(maturity, calendar, day), pl.col("known") > 0)["event_day"])
        chosen = [
            (
                part.scores[known[past]],
                part.labels[known[past]],
                np.full(int(known[past].sum()), (max(counting) - past).days + 1),
            )
            for past, part in there
            if past in counting
        ]
        if not chosen:
            return HeldOut(np.empty(0), np.empty(0), np.empty(0, np.int64))
        return HeldOut(*(np.concatenate(column) for column in zip(*chosen, strict=True)))


def days_before(day: date, window_days: int) -> list[date]:
    """The days whose events may calibrate a day, oldest first."""
    return [day - timedelta(days=back) for back in range(window_days, 0, -1)]
