"""Which scores a day's calibrator is fitted on: those of events that the scoring model was not fitted on.

What belongs here: who scores each past day, gathering the rows whose labels were known before the day began.
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
from ml_assets.domain.slices import Slices
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
class ScoredDays:
    """Labelled, scored rows by scoring version and event day: scores, labels, and when the labels became known (µs)."""

    parts: Mapping[tuple[str, date], tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.int64]]]

    @classmethod
    def of(cls, version: str, rows: pl.DataFrame) -> "ScoredDays":
        """Rows with `partition_date`, `score`, `label` and `known_at`, scored by one version."""
        parts = {}
        for (day,), part in rows.partition_by(DAY, as_dict=True, maintain_order=True).items():
            parts[version, day] = (
                part[SCORE].to_numpy(),
                part["label"].cast(pl.Float64).to_numpy(),
                part["known_at"].dt.timestamp("us").to_numpy(),
            )
        return cls(parts)

    def also(self, other: "ScoredDays") -> "ScoredDays":
        """Both together."""
        return ScoredDays({**self.parts, **other.parts})

    def held_out(self, day: date, began_us: int, by: Scorers) -> HeldOut:
        """The rows of the days that `by` names, with labels known before the instant `began_us`, oldest day first."""
        chosen = []
        for past, version in sorted(by.items()):
            part = self.parts.get((version, past))
            if part is None:
                continue
            scores, labels, known_at = part
            known = known_at < began_us
            chosen.append((scores[known], labels[known], np.full(int(known.sum()), (day - past).days, np.int64)))
        if not chosen:
            return HeldOut(np.empty(0), np.empty(0), np.empty(0, np.int64))
        return HeldOut(*(np.concatenate(column) for column in zip(*chosen, strict=True)))


def days_before(day: date, window_days: int) -> list[date]:
    """The days whose events may calibrate a day, oldest first."""
    return [day - timedelta(days=back) for back in range(window_days, 0, -1)]
