"""A replayed home in which incidents strike: what they do to rows, labels and probabilities, and what catches them.

What belongs here: planting an incident in one day, measuring its harm, asking the platform's own functions about it.
What does not: the incidents (`incidents_of_extracts.py`), what is expected of them (tests, `benchmarks/alarms.py`).
"""

import zlib
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path

import flights_archive
import numpy as np
import polars as pl
from incidents_of_extracts import Incident

from ml_assets.domain.alarms.reports import ALARM, REMEMBERED_DAYS, REPORTS, alarms_by_day, look_back, rules
from ml_assets.domain.alarms.sources import source_reports
from ml_assets.domain.feature_days import cut_to_days
from ml_assets.domain.ingestion import Ingested, ingest
from ml_assets.domain.local_days import DAY
from ml_assets.domain.point_in_time import feature_rows, read_window
from ml_assets.domain.serving import probabilities, scored
from ml_assets.domain.specs import Catalog, ModelSpec

ONE_DAY = timedelta(days=1)
WARM_UP_DAYS = 60


@dataclass(frozen=True)
class Harm:
    """What an incident does on its day: to rows, labels, mean probability and Brier score (as a share of it)."""

    rows: float
    labels: float
    probability: float
    brier: float

    @property
    def harmful(self) -> bool:
        """5% of the rows missing or added, 1% of the labels false, mean probability by 0.01 or Brier by 2%."""
        return self.rows >= 0.05 or self.labels >= 0.01 or self.probability >= 0.01 or self.brier >= 0.02


@dataclass(frozen=True)
class Struck:
    """An incident on a day, what it did and what said so ("" when nothing did)."""

    incident: Incident
    day: date
    harm: Harm
    caught_by: str


@dataclass(frozen=True)
class World:
    """A home that was replayed, for reading."""

    home: Path

    @cached_property
    def catalog(self) -> Catalog:
        """What is declared of the flights."""
        return flights_archive.catalog()

    @cached_property
    def model(self) -> ModelSpec:
        """The model whose probabilities count."""
        (model,) = self.catalog.models.values()
        return model

    def table(self, name: str) -> pl.DataFrame:
        """All rows of a table."""
        return pl.read_delta(str(self.home / "lake" / name))

    @cached_property
    def events(self) -> dict[str, pl.DataFrame]:
        """The events of every source, in order."""
        return {name: self.table(f"events/{name}").sort(DAY, *spec.keys) for name, spec in self.catalog.sources.items()}

    @cached_property
    def reports(self) -> dict[str, pl.DataFrame]:
        """The reports of the undisturbed year."""
        nothing = pl.DataFrame(schema=REPORTS)
        return {
            name: source_reports(spec, self.events[name], nothing, self.events[name][DAY].unique())
            for name, spec in self.catalog.sources.items()
        }

    def extract(self, source: str, day: date) -> pl.DataFrame:
        """What was delivered for a day."""
        return pl.read_parquet(self.home / "extracts" / source / f"{day}.parquet")

    def days(self, source: str) -> list[date]:
        """The days on which an incident may strike: with a champion, a past to learn from, no alarm of their own."""
        served = set(self.table(f"predictions/{self.model.name}")[DAY])
        alarmed = set().union(*(alarms_by_day(report) for report in self.reports.values()))
        days = sorted(set(self.events[source][DAY]) & served - alarmed)
        return [day for day in days if day >= self.model.calendar.first_day + WARM_UP_DAYS * ONE_DAY]

    def days_of(self, incident: Incident, count: int) -> list[date]:
        """The days on which a kind of incident is tried, the same whenever it is."""
        rng = np.random.default_rng(zlib.crc32(f"{incident.table}/{incident.name}".encode()))
        days = self.days(incident.table)
        return sorted(days[index] for index in rng.choice(len(days), size=count, replace=False))

    def strike(self, incident: Incident, day: date) -> Struck | None:
        """What becomes of an incident on a day; None where it changes nothing."""
        healthy = self.extract(incident.table, day)
        broken = incident.strike(day, healthy, lambda other: self.extract(incident.table, other))
        if broken.equals(healthy):
            return None
        came = self.came(incident.table, day, broken)
        return Struck(
            incident, day, self.harm(incident.table, day, came.rows), self.caught_by(incident.table, day, came)
        )

    def came(self, source: str, day: date, extract: pl.DataFrame) -> Ingested:
        """What a day's delivery comes to."""
        return ingest(self.catalog.sources[source], {day: extract}, {})

    def caught_by(self, source: str, day: date, came: Ingested) -> str:
        """What says that a day's delivery is not right: its contract, or a rule."""
        verdict = came.verdicts[day]
        if not verdict.passed:
            return f"refused: {'; '.join(verdict.reasons)}"
        return "; ".join(alarms_by_day(self.judged(source, came.rows)).values())

    def judged(self, source: str, rows: pl.DataFrame) -> pl.DataFrame:
        """The report of a day that came as `rows`, after the undisturbed days before it."""
        (day,) = rows[DAY].unique()
        events = self.events[source]
        before = events.filter(pl.col(DAY) < day, pl.col(DAY) >= day - look_back(rules()) * ONE_DAY)
        past = self.reports[source].filter(pl.col(DAY) < day, pl.col(DAY) >= day - REMEMBERED_DAYS * ONE_DAY)
        return source_reports(self.catalog.sources[source], pl.concat([before, rows]), past, [day])

    def harm(self, source: str, day: date, rows: pl.DataFrame) -> Harm:
        """What a day that came as `rows` does, if nothing stops it."""
        healthy = self.events[source].filter(pl.col(DAY) == day)
        labels = self._labels(day, healthy), self._labels(day, rows)
        if source != self._labelled:
            labels = (self._labels(day, self.events[self._labelled].filter(pl.col(DAY) == day)),) * 2
        scored = self._probabilities(day, {}), self._probabilities(day, {source: rows})
        both = scored[0].join(scored[1], on="row_key", suffix="_broken").join(labels[0], on="row_key")
        kept = rows.join(healthy, on="row_key", how="semi").height
        compared = labels[0].join(labels[1], on="row_key", suffix="_broken")
        brier = [
            float(((both[name] - both["label"]) ** 2).mean() or 0) for name in ("probability", "probability_broken")
        ]
        return Harm(
            rows=(healthy.height + rows.height - 2 * kept) / healthy.height,
            labels=compared.filter(pl.col("label") != pl.col("label_broken")).height / max(compared.height, 1),
            probability=abs(float((both["probability_broken"] - both["probability"]).mean() or 0)),
            brier=abs(brier[1] - brier[0]) / max(brier[0], 1e-9),
        )

    @property
    def _labelled(self) -> str:
        return self.catalog.outcomes[self.model.outcome].source

    def _labels(self, day: date, rows: pl.DataFrame) -> pl.DataFrame:
        if "fate" not in rows.columns:
            return pl.DataFrame(schema={"row_key": pl.String, "label": pl.Int8})
        return self.catalog.outcomes[self.model.outcome].compute(rows.lazy()).select("row_key", "label").collect()

    def _probabilities(self, day: date, instead: dict[str, pl.DataFrame]) -> pl.DataFrame:
        """The probabilities of a day when some sources' rows of that day are others."""
        if not instead:
            return self._stored(day)
        groups = self.catalog.groups_of(self.model)
        frames = {}
        for name, group in groups.items():
            window = read_window(group, self.model).first
            days = pl.col(DAY).is_between(day - (window + group.look_back_days) * ONE_DAY, day)
            inputs = {}
            for source in group.inputs:
                events = self.events[source].filter(days)
                if source in instead:
                    events = pl.concat([events.filter(pl.col(DAY) != day), instead[source]])
                inputs[source] = events.lazy()
            wanted = [day - back * ONE_DAY for back in range(window + 1)]
            frames[name] = cut_to_days(group, group.compute(inputs), wanted)
        asked = feature_rows(self.model, groups, frames, (day, day + ONE_DAY))
        stored_model, calibrator = self._serving(day)
        made = asked.with_columns(scored(self.model, stored_model, asked))
        return made.with_columns(probabilities(made, {day: calibrator})).select("row_key", "score", "probability")

    @cached_property
    def _predictions(self) -> pl.DataFrame:
        return self.table(f"predictions/{self.model.name}").select(DAY, "row_key", "score", "probability")

    def _stored(self, day: date) -> pl.DataFrame:
        return self._predictions.filter(pl.col(DAY) == day).drop(DAY)

    @cached_property
    def _tables_of_versions(self) -> dict[str, pl.DataFrame]:
        return {name: self.table(f"{name}/{self.model.name}") for name in ("models", "calibrators")}

    def _serving(self, day: date) -> tuple[dict[str, object], str]:
        tables = self._tables_of_versions
        serving = tables["calibrators"].filter(pl.col(DAY) == day).row(0, named=True)
        models = tables["models"].filter(pl.col("model_version") == serving["model_version"])
        return models.row(0, named=True), serving["calibrator"]


def resampled(extract: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    """A day of flights that might as well have been: its timetable, with delays drawn anew of flights of the same hour.

    A flight's two delays stay together, so no relation within a row breaks; the noise of sampling is all that differs.
    """
    order = np.argsort(extract["sched_dep_time"].fill_null(0).to_numpy(), kind="stable")
    taken = np.clip(np.arange(len(order)) + rng.integers(-12, 13, len(order)), 0, len(order) - 1)
    of_row = np.empty_like(order)
    of_row[order] = order[taken]
    return extract.with_columns(extract[name].gather(of_row) for name in ("dep_delay", "arr_delay"))


__all__ = ["ALARM", "Harm", "Struck", "World", "resampled"]
