"""What every asset declares of itself: its table, its calendar, fact or decision, and each of its reads.

What belongs here: the values from which Dagster's dependencies, the order of a replay, what a commit records, the
plan of a repair and the README's table are derived.
What does not: how any stage is computed (`ml_assets/assets`), which days exist (`partitions`).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from graphlib import TopologicalSorter

from ml_assets.domain.errors import CatalogError
from ml_assets.domain.specs import Calendar
from partitions import Window


class Nature(StrEnum):
    """A fact is a function of its inputs; a decision is what was decided with what was known on its day."""

    FACT = "fact"
    DECISION = "decision"


@dataclass(frozen=True, slots=True)
class Read:
    """A table that an asset reads, and the days of it.

    `needed`: the same day must be there and accepted, else the reader's day is blocked. `edge`: a dependency in
    Dagster's graph too; what would make a circle there (a day's own yesterday, the one open place) is read through
    the lake alone. `by_version`: the days are those that a version in the rows names (a champion's model), so the
    content read is part of that name and no window of days is looked at. `follows`: a decision on record is decided
    anew when this read's content changes, because it is the same decision's earlier half.
    """

    table: str
    window: Window
    needed: bool = False
    edge: bool = True
    by_version: bool = False
    follows: bool = False


@dataclass(frozen=True, slots=True)
class Declared:
    """One asset: `table` is `<stage>/<name>`, in the lake as in Dagster."""

    stage: str
    name: str
    nature: Nature
    calendar: Calendar
    reads: Mapping[str, Read] = field(default_factory=dict)

    @property
    def table(self) -> str:
        """The lake's table and, split at the slash, Dagster's key."""
        return f"{self.stage}/{self.name}"


@dataclass(frozen=True, slots=True)
class Graph:
    """Every declared asset by table, parents before those that read them.

    Reads of a day's own past (`champions` of the day before, `retrain_decisions` of the reports before) are no
    circle in time; an order of assets exists because those reads are strictly before the day and are left out of it.
    """

    assets: Mapping[str, Declared]

    @classmethod
    def of(cls, declared: Iterable[Declared]) -> "Graph":
        """The graph of the given assets; CatalogError for a read of a table that nobody declares."""
        known = {asset.table: asset for asset in declared}
        for asset in known.values():
            for read in asset.reads.values():
                if read.table not in known:
                    raise CatalogError(f"{asset.table} reads {read.table!r}; known are {', '.join(sorted(known))}.")
        same_day = {
            asset.table: [read.table for read in asset.reads.values() if read.window.last == 0 and not read.by_version]
            for asset in known.values()
        }
        return cls({table: known[table] for table in TopologicalSorter(same_day).static_order()})

    def __iter__(self) -> Iterator[Declared]:
        return iter(self.assets.values())

    def __getitem__(self, table: str) -> Declared:
        return self.assets[table]

    def readers(self, table: str) -> list[Declared]:
        """The assets that read a table, in order."""
        return [asset for asset in self if any(read.table == table for read in asset.reads.values())]

    def downstream(self, tables: Iterable[str]) -> list[str]:
        """The tables and all that rests on them by same-day or trailing reads, in order."""
        found = set(tables)
        for asset in self:
            if any(read.table in found and read.window.last == 0 for read in asset.reads.values()):
                found.add(asset.table)
        return [table for table in self.assets if table in found]
