"""The lake as the assets see it: days read with their verdicts, days written with theirs.

What belongs here: the tables of a stage, the record of rejected days, the quarantine of bad rows.
What does not: how Delta is written (`delta_store.py`), what Dagster is told (`delta_io_manager.py`).
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl

from ml_assets.domain.day_frame import DayBatch, DayFrame
from ml_assets.domain.local_days import DAY, within
from resources.delta_store import Commit, DeltaStore

REASONS = "reasons"
REQUESTS = "retrain_requests"


@dataclass(frozen=True, slots=True)
class Lake:
    """Reads and writes days of tables named `<stage>/<name>`."""

    store: DeltaStore

    def read(self, table: str, start: date, end: date) -> DayFrame:
        """The accepted rows of `[start, end)`; a table that is not there yet has no columns and no days.

        Days whose latest verdict is red are left out, even where last known good rows exist.
        """
        snapshot = self.store.snapshot(table)
        if snapshot is None or end <= start:
            empty = pl.LazyFrame(schema=snapshot.schema() if snapshot else {DAY: pl.Date})
            return DayFrame(table, empty, frozenset(), self.rejected(table, start, end), None)
        rejected = self.rejected(table, start, end)
        rows = snapshot.scan(start, end)
        if rejected:
            rows = rows.filter(~pl.col(DAY).is_in(list(rejected)))
        present = frozenset(day for day in snapshot.days() if start <= day < end and day not in rejected)
        return DayFrame(table, rows, present, rejected, snapshot.version)

    def days(self, table: str) -> frozenset[date]:
        """The days of a table that hold rows and are not rejected; none for an absent table."""
        snapshot = self.store.snapshot(table)
        if snapshot is None:
            return frozenset()
        held = snapshot.days()
        return held - set(self.rejected(table, min(held), max(held) + timedelta(days=1))) if held else held

    def rejected(self, table: str, start: date, end: date) -> dict[date, str]:
        """The days of `[start, end)` whose latest verdict is red, with the reasons."""
        snapshot = self.store.snapshot(_rejections(table))
        if snapshot is None or end <= start or not any(start <= day < end for day in snapshot.days()):
            return {}
        rows = snapshot.scan(start, end).filter(within(start, end)).select(DAY, REASONS).collect()
        return {day: "; ".join(json.loads(reasons)) for day, reasons in rows.iter_rows()}

    def write(self, table: str, batch: DayBatch, metadata: Mapping[str, str]) -> Commit | None:
        """The commit of the batch's accepted days; None when there are none.

        Red verdicts, blocked days and quarantined rows are committed before the accepted days, and what was red and is
        accepted now is cleared after them: killed in between, a day is red too long, never green too early.
        """
        self._quarantine(table, batch, metadata)
        self._reject(table, batch, metadata)
        accepted = batch.accepted
        if not accepted:
            return None
        rows = batch.rows
        if len(accepted) < len(batch.verdicts):
            rows = rows.filter(pl.col(DAY).is_in(accepted))
        commit = self.store.replace_days(table, rows, accepted, commit_metadata=metadata, add_columns=batch.add_columns)
        red_before = self.rejected(table, accepted[0], accepted[-1] + timedelta(days=1))
        healed = [day for day in accepted if day in red_before]
        if healed:
            self.store.replace_days(
                _rejections(table),
                _rejection_rows({}),
                healed,
                commit_metadata=metadata,
                allow_empty_days=True,
            )
        return commit

    def withdraw(self, table: str, days: Iterable[date]) -> None:
        """Removes the rows of days: what they rest on is about to be computed anew, and so are they."""
        snapshot = self.store.snapshot(table)
        held = sorted(snapshot.days() & set(days)) if snapshot else []
        if snapshot and held:
            self.store.replace_days(table, pl.DataFrame(schema=snapshot.schema()), held, allow_empty_days=True)

    def schema(self, table: str) -> Mapping[str, pl.DataType]:
        """The stored columns of a table and their types; none for an absent table."""
        snapshot = self.store.snapshot(table)
        return snapshot.schema() if snapshot else {}

    def ask(self, model: str, day: date, reason: str) -> None:
        """Records that a person asked for a model to be trained at a day."""
        row = pl.DataFrame({DAY: [day], "reason": [reason]}, schema={DAY: pl.Date, "reason": pl.String})
        self.store.replace_days(f"{REQUESTS}/{model}", row, [day])

    def asked(self, model: str, start: date, end: date) -> dict[date, str]:
        """The days of `[start, end)` for which a person asked, with the reason given."""
        snapshot = self.store.snapshot(f"{REQUESTS}/{model}")
        if snapshot is None:
            return {}
        return dict(snapshot.scan(start, end).select(DAY, "reason").collect().iter_rows())

    def _reject(self, table: str, batch: DayBatch, metadata: Mapping[str, str]) -> None:
        # A blocked day may hold rows of an earlier run: what reads it must leave it out like a red one.
        reasons = {
            **{day: json.dumps([reason]) for day, reason in batch.blocked.items()},
            **{day: json.dumps(batch.verdicts[day].reasons) for day in batch.rejected},
        }
        if reasons:
            self.store.replace_days(
                _rejections(table), _rejection_rows(reasons), sorted(reasons), commit_metadata=metadata
            )

    def _quarantine(self, table: str, batch: DayBatch, metadata: Mapping[str, str]) -> None:
        if batch.quarantined is None:
            return
        target = f"quarantine/{table.split('/', 1)[1]}"
        kept = self.store.snapshot(target)
        judged = list(batch.verdicts)
        holding = set(batch.quarantined[DAY]) | (kept.days() & set(judged) if kept else set())
        if not holding:
            return
        rows = batch.quarantined.select(DAY, pl.col(REASONS).list.join("; "), "payload")
        self.store.replace_days(target, rows, sorted(holding), commit_metadata=metadata, allow_empty_days=True)


def _rejections(table: str) -> str:
    return f"rejections/{table.replace('/', '__')}"


def _rejection_rows(reasons: Mapping[date, str]) -> pl.DataFrame:
    return pl.DataFrame(
        {DAY: list(reasons), REASONS: list(reasons.values())}, schema={DAY: pl.Date, REASONS: pl.String}
    )
