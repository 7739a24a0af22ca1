"""The lake as the assets see it: days read with their verdicts, days written with theirs.

What belongs here: the tables of a stage, refused days, the quarantine of bad rows, what each day rests on.
What does not: how Delta is written (`delta_store.py`), what Dagster is told (`delta_io_manager.py`).
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Self

import polars as pl

from ml_assets.domain.content import content_hashes
from ml_assets.domain.day_frame import DayBatch, DayFrame
from ml_assets.domain.day_records import GOOD
from ml_assets.domain.errors import TableUnreadableError
from ml_assets.domain.ingestion import DELIVERIES
from ml_assets.domain.local_days import DAY, within
from ml_assets.domain.planning import DayRecords, day_records
from ml_assets.domain.stored_types import in_stored_types
from ml_assets.domain.verdict import BLOCKED, LATE
from partitions import DayRange
from resources.delta_store import CommitRecord, DeltaStore, TableSnapshot
from resources.named_days import check_days, day_counts
from resources.records import DayNote, RecordIndex, WasRead, as_metadata, withdrawal
from resources.table_snapshot import READ_FAILURES

REASONS = "reasons"
RED = "red"


@dataclass(frozen=True, slots=True)
class Read:
    """What a run has read, by the name of the read: the fingerprint of each day's window, and of which rows."""

    fingerprints: Mapping[str, Mapping[date, int]] = field(default_factory=dict)
    reads: Mapping[str, WasRead] = field(default_factory=dict)

    def of(self, day: date) -> dict[str, int]:
        """The fingerprints of a day's windows."""
        return {name: by_day[day] for name, by_day in self.fingerprints.items() if day in by_day}


@dataclass(frozen=True, slots=True)
class Stored:
    """What a write left behind: the table's snapshot, the days whose content changed, the content hash of each day."""

    snapshot: TableSnapshot
    changed: frozenset[date]
    hashes: Mapping[date, str]


@dataclass(frozen=True)
class Lake:
    """Reads and writes days of tables named `<stage>/<name>`."""

    store: DeltaStore
    index: RecordIndex

    @classmethod
    def of(cls, store: DeltaStore, index_folder: Path | None = None) -> Self:
        """The lake of a store, with an index of its records in a folder."""
        return cls(store, RecordIndex(store, index_folder))

    def read(self, table: str, start: date, end: date) -> DayFrame:
        """The accepted rows of `[start, end)`; a table that is not there yet has no columns and no days.

        Days whose latest verdict is red, and blocked ones, are left out, even where last known good rows exist.
        """
        snapshot = self.store.snapshot(table)
        if snapshot is None or end <= start:
            empty = pl.LazyFrame(schema=snapshot.schema() if snapshot else {DAY: pl.Date})
            nothing: frozenset[date] = frozenset()
            refused, late = self._refused_and_late(table, start, end)
            return DayFrame(table, empty, nothing, nothing, refused, None, late)
        refused, late = self._refused_and_late(table, start, end)
        rows = snapshot.scan(start, end)
        if refused:
            rows = rows.filter(~pl.col(DAY).is_in(list(refused)))
        counted = {
            day: rows for day, rows in snapshot.rows_by_day().items() if start <= day < end and day not in refused
        }
        filled = frozenset(day for day, count in counted.items() if count)
        return DayFrame(table, rows, frozenset(counted), filled, refused, snapshot.version, late)

    def days(self, table: str) -> frozenset[date]:
        """The days of a table that hold rows and are not refused; none for an absent table."""
        snapshot = self.store.snapshot(table)
        if snapshot is None:
            return frozenset()
        held = frozenset(day for day, rows in snapshot.rows_by_day().items() if rows)
        return held - set(self.refused(table, min(held), max(held) + timedelta(days=1))) if held else held

    def _refused_and_late(self, table: str, start: date, end: date) -> tuple[dict[date, str], frozenset[date]]:
        held = self.refusals(table, start, end)
        late = frozenset(day for day, (state, _) in held.items() if state == LATE)
        return {day: reason for day, (_, reason) in held.items()}, late

    def refused(self, table: str, start: date, end: date) -> dict[date, str]:
        """The days of `[start, end)` whose latest verdict is red or that are blocked or late, with the reasons."""
        return {day: reason for day, (_, reason) in self.refusals(table, start, end).items()}

    def refusals(self, table: str, start: date, end: date) -> dict[date, tuple[str, str]]:
        """The refused days of `[start, end)`: red, blocked or late, and the reasons."""
        snapshot = self.store.snapshot(_refusals(table))
        if snapshot is None or end <= start or not any(start <= day < end for day in snapshot.days()):
            return {}
        rows = snapshot.collect(snapshot.scan(start, end).filter(within(start, end)).select(DAY, "state", REASONS))
        return {day: (state, "; ".join(json.loads(reasons))) for day, state, reasons in rows.iter_rows()}

    def record(self, table: str) -> pl.DataFrame:
        """What is on record of every day of a table, refused days included: one row a day, in day order."""
        good = self.index.of(table).with_columns(pl.lit(GOOD).alias("state"))
        refused = self.store.snapshot(_refusals(table))
        red_days = sorted(refused.days()) if refused else []
        if not red_days or refused is None:
            return good
        scanned = refused.scan(red_days[0], red_days[-1] + timedelta(days=1))
        texts = pl.col(REASONS).str.json_decode(pl.List(pl.String)).list.join("; ")
        states = refused.collect(scanned.select(DAY, "state", texts))
        red = (
            self.index.of(_refusals(table))
            .drop("why")
            .join(states.rename({REASONS: "why"}), on=DAY, how="inner")
            .select(good.columns)
        )
        return pl.concat([good.filter(~pl.col(DAY).is_in(red_days)), red]).sort(DAY)

    def records(self, tables: Iterable[str]) -> dict[str, DayRecords]:
        """What the planner needs of every table: contents, fingerprints, states."""
        return {table: day_records(self.record(table)) for table in tables}

    def commit_of(self, table: str, day: date) -> CommitRecord | None:
        """The commit that is the record of a day; None when the day is not on record or was refused since."""
        found = self.record(table).filter(pl.col(DAY) == day, pl.col("state") == GOOD)
        return self.store.commit(table, int(found["recorded_at"][0])) if found.height else None

    def contents(self, table: str, days: DayRange) -> dict[date, str]:
        """The content hash of each day on record that readers of the table would find."""
        good = self.record(table).filter(within(days.start, days.end), pl.col("state") == GOOD)
        return dict(good.select(DAY, "content").iter_rows())

    @contextmanager
    def reading(self, tables: Iterable[str]) -> Iterator[None]:
        """While rows of tables are read: a failure that a damaged file explains says which file and what to do.

        Raises:
            TableUnreadableError: a data file of one of the tables is missing or damaged; it names the day.
        """
        try:
            yield
        except READ_FAILURES as error:
            for table in tables:
                snapshot = self.store.snapshot(table)
                damage = snapshot.damage() if snapshot else None
                if damage:
                    raise TableUnreadableError(damage) from error
            raise

    def versions(self, tables: Iterable[str], seen: Mapping[str, int] = MappingProxyType({})) -> dict[str, int]:
        """The newest version of every table, and of its refusals; −1 for what is not there.

        Tables that are still at the version they were seen at are not opened.
        """
        names = [name for table in tables for name in (table, _refusals(table))]
        found = {name: seen[name] for name in names if name in seen}
        for name in names:
            if name not in found or self.store.moved_on(name, found[name]):
                snapshot = self.store.snapshot(name)
                found[name] = snapshot.version if snapshot else -1
        return found

    def moved(self, seen: Mapping[str, int], tables: Iterable[str]) -> bool:
        """Whether a table, or its refusals, has a commit that is not among the versions seen."""
        names = [name for table in tables for name in (table, _refusals(table))]
        return any(name not in seen or self.store.moved_on(name, seen[name]) for name in names)

    def write(self, table: str, batch: DayBatch, read: Read, metadata: Mapping[str, str]) -> Stored | None:
        """Writes the batch's accepted days; None when there are none.

        A day whose content is what is stored is recorded, not rewritten. Refusals and quarantined rows are committed
        before the accepted days, and what was refused and is accepted now is cleared after them: killed in between, a
        day is red too long, never green too early.

        Raises:
            RowsOutsideDaysError: rows of days that were not judged, or without a day; nothing was written.
            SchemaChangeRefusedError, StorageError: the rows are not what the table may hold.
        """
        rows = self._fit(table, batch) if batch.accepted else batch.rows
        self._quarantine(table, batch, metadata)
        self._deliveries(table, batch, metadata)
        self._refuse(table, batch, read, metadata)
        accepted = batch.accepted
        if not accepted:
            return None
        rows = rows.filter(pl.col(DAY).is_in(accepted))
        hashes = content_hashes(rows, leave_out=batch.leave_out, days=accepted)
        stored = self.store.snapshot(table)
        held = stored.days() if stored else frozenset()
        known = dict(self.index.of(table).select(DAY, "content").iter_rows())
        same = [day for day in accepted if day in held and known.get(day) == hashes[day]]
        intact = _intact(stored, same, hashes, batch.leave_out) if stored and same else frozenset()
        changed = [day for day in accepted if day not in intact]
        filled = set(rows[DAY])
        notes = {
            day: DayNote(hashes[day], day not in filled, batch.empty.get(day, ""), read.of(day)) for day in accepted
        }
        noted = {**metadata, **as_metadata(notes, read.reads, batch.delivered)}
        if changed:
            kept = rows if len(changed) == len(accepted) else rows.filter(pl.col(DAY).is_in(changed))
            self.store.replace_days(
                table, kept, changed, commit_metadata=noted, add_columns=batch.add_columns, keep_empty_days=True
            )
        else:
            self.store.note(table, noted)
        red_before = self.refused(table, accepted[0], accepted[-1] + timedelta(days=1))
        healed = [day for day in accepted if day in red_before]
        if healed:
            self.store.replace_days(
                _refusals(table),
                _refusal_rows({}),
                healed,
                commit_metadata={**metadata, **withdrawal(healed)},
                allow_empty_days=True,
            )
        snapshot = self.store.snapshot(table)
        return Stored(snapshot, frozenset(changed), hashes) if snapshot else None

    def withdraw(self, table: str, days: Iterable[date]) -> None:
        """Takes days off a table and off its record, as if they had never been asked for."""
        snapshot = self.store.snapshot(table)
        wanted = set(days)
        held = sorted(snapshot.days() & wanted) if snapshot else []
        if snapshot and held:
            empty = pl.DataFrame(schema=snapshot.schema())
            self.store.replace_days(table, empty, held, commit_metadata=withdrawal(held), allow_empty_days=True)
        refused = self.store.snapshot(_refusals(table))
        red = sorted(refused.days() & wanted) if refused else []
        if red:
            self.store.replace_days(
                _refusals(table), _refusal_rows({}), red, commit_metadata=withdrawal(red), allow_empty_days=True
            )

    def schema(self, table: str) -> Mapping[str, pl.DataType]:
        """The stored columns of a table and their types; none for an absent table."""
        snapshot = self.store.snapshot(table)
        return snapshot.schema() if snapshot else {}

    def _fit(self, table: str, batch: DayBatch) -> pl.DataFrame:
        """The rows in the types that are stored; a row of a day that nobody judged is refused, never left out."""
        uri = self.store.uri(table)
        rows = in_stored_types(uri, batch.rows)
        check_days(uri, day_counts(rows), sorted(batch.judged), may_be_empty=True)
        return rows

    def _refuse(self, table: str, batch: DayBatch, read: Read, metadata: Mapping[str, str]) -> None:
        # A blocked day may hold rows of an earlier run: what reads it must leave it out like a red one.
        reasons = {
            **{day: (LATE, [reason]) for day, reason in batch.late.items()},
            **{day: (BLOCKED, [reason]) for day, reason in batch.blocked.items()},
            **{day: (RED, list(batch.verdicts[day].reasons)) for day in batch.rejected},
        }
        if reasons:
            notes = {day: DayNote("", why="; ".join(why), inputs=read.of(day)) for day, (_, why) in reasons.items()}
            self.store.replace_days(
                _refusals(table),
                _refusal_rows(reasons),
                sorted(reasons),
                commit_metadata={**metadata, **as_metadata(notes, read.reads, batch.delivered)},
            )

    def _deliveries(self, table: str, batch: DayBatch, metadata: Mapping[str, str]) -> None:
        """Tells of each day's delivery in `extracts/<source>`; a day of which the same is told there is left alone."""
        if batch.deliveries is None or batch.deliveries.is_empty():
            return
        target = extracts_table(table)
        told = batch.deliveries.join(self.deliveries(target), on=batch.deliveries.columns, how="anti", nulls_equal=True)
        if told.height:
            self.store.replace_days(target, told, sorted(told[DAY]), commit_metadata=metadata)

    def deliveries(self, table: str) -> pl.DataFrame:
        """What is told of the deliveries that events were made from, a row a day, in day order."""
        snapshot = self.store.snapshot(extracts_table(table))
        if snapshot is None:
            return pl.DataFrame(schema=DELIVERIES)
        return snapshot.collect(snapshot.scan(date.min, date.max)).select(*DELIVERIES).sort(DAY)

    def _quarantine(self, table: str, batch: DayBatch, metadata: Mapping[str, str]) -> None:
        if batch.quarantined is None:
            return
        # A source and an outcome may have one name.
        stage, name = table.split("/", 1)
        target = f"quarantine/{name}" if stage == "events" else f"quarantine/{stage}__{name}"
        kept = self.store.snapshot(target)
        judged = list(batch.verdicts)
        holding = set(batch.quarantined[DAY]) | (kept.days() & set(judged) if kept else set())
        if not holding:
            return
        rows = batch.quarantined.select(DAY, pl.col(REASONS).list.join("; "), "payload")
        self.store.replace_days(target, rows, sorted(holding), commit_metadata=metadata, allow_empty_days=True)


def _intact(
    stored: TableSnapshot, days: list[date], hashes: Mapping[date, str], leave_out: frozenset[str]
) -> frozenset[date]:
    """The days whose stored rows are what their record says; one with a damaged file is not, and is written anew."""
    intact: set[date] = set()
    for start, end in [(days[0], days[-1] + timedelta(days=1))] + [(day, day + timedelta(days=1)) for day in days]:
        try:
            rows = stored.scan(start, end).filter(pl.col(DAY).is_in(days)).collect()
        except READ_FAILURES:
            continue
        inside = [day for day in days if start <= day < end]
        found = content_hashes(rows, leave_out=leave_out, days=inside)
        intact |= {day for day in inside if found[day] == hashes[day]}
        if len(inside) == len(days):
            break
    return frozenset(intact)


def extracts_table(table: str) -> str:
    """The table that tells of the deliveries of a source's events."""
    return f"extracts/{table.split('/', 1)[1]}"


def _refusals(table: str) -> str:
    return f"refusals/{table.replace('/', '__')}"


def _refusal_rows(reasons: Mapping[date, tuple[str, list[str]]]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            DAY: list(reasons),
            "state": [state for state, _ in reasons.values()],
            REASONS: [json.dumps(why) for _, why in reasons.values()],
        },
        schema={DAY: pl.Date, "state": pl.String, REASONS: pl.String},
    )
