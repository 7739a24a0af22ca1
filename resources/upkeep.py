"""Upkeep of the lake: files that nobody can need any more are deleted, those on which a record rests never.

What belongs here: which versions of which table the records need, and the rounds over all tables.
What does not: deleting files of one table (`delta_store.py`).

What was decided stays on record, so what any decision ever read (a training set, a model, a champion) stays readable
at its recorded version, whole. A fact can be computed anew: a version is kept for it only while the day on record rests
on content that is no longer the table's, or on rows that it names by version.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date

from ml_assets.domain.declared import Graph, Nature
from ml_assets.domain.local_days import DAY
from partitions import DayRange
from resources.delta_store import Maintained
from resources.lake import Lake
from resources.records import WasRead, reads_of

Needs = dict[str, dict[int, set[str]]]


@dataclass(frozen=True, slots=True)
class TableUpkeep:
    """What became of a table: what was deleted, and by whom its kept versions are needed."""

    done: Maintained
    needed_by: Mapping[int, Collection[str]]


def needed_versions(lake: Lake, graph: Graph) -> Needs:
    """For each table the versions that records rest on, with the tables whose records they are.

    A table that nobody declares any more counts as one of decisions.
    """
    needs: Needs = {}
    contents: dict[str, dict[date, str]] = {}
    for table in lake.store.tables():
        decides = table not in graph.assets or graph[table].nature is Nature.DECISION
        for read in _of_all_commits(lake, table) if decides else _of_days_on_record(lake, table):
            if read.version is None or not (decides or read.window is None or _moved_on(lake, read, contents)):
                continue
            needs.setdefault(read.table, {}).setdefault(read.version, set()).add(table)
    return needs


def upkeep(lake: Lake, graph: Graph, *, keep_hours: int, remove: bool = True) -> list[TableUpkeep]:
    """What was deleted of every table and what was kept, in the order of their names; without `remove` only told.

    Versions of the last `keep_hours` hours stay readable whoever needs them.
    """
    needs = needed_versions(lake, graph)
    return [
        TableUpkeep(
            lake.store.maintain(table, keep_hours=keep_hours, keep_versions=needs.get(table, {}).keys(), remove=remove),
            needs.get(table, {}),
        )
        for table in lake.store.tables()
    ]


def _of_all_commits(lake: Lake, table: str) -> list[WasRead]:
    return [read for commit in lake.store.commits_after(table, -1) for read in reads_of(commit).values()]


def _of_days_on_record(lake: Lake, table: str) -> list[WasRead]:
    on_record = lake.index.of(table).select(DAY, "recorded_at")
    return [
        read.for_days(days)
        for (version,), of_commit in on_record.group_by("recorded_at", maintain_order=True)
        if (days := of_commit[DAY].to_list())
        for read in reads_of(lake.store.commit(table, version)).values()
    ]


def _moved_on(lake: Lake, read: WasRead, contents: dict[str, dict[date, str]]) -> bool:
    """Whether a day that was read has another content by now."""
    if read.table not in contents:
        contents[read.table] = lake.contents(read.table, DayRange(date.min, date.max))
    now = contents[read.table]
    return any(now.get(day) != text for day, text in read.contents.items())
