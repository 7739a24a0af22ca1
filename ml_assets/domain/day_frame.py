"""What goes into an asset and what comes out of it, as values.

What belongs here: `DayFrame` (rows read, and which days they stand for) and `DayBatch` (rows to write, and
what was judged of each day).
What does not: reading and writing them (`resources`), who may ask (`ml_assets/assets`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

import polars as pl

from ml_assets.domain.verdict import Verdict


@dataclass(frozen=True, slots=True)
class DayFrame:
    """Rows of a table over some days, at one version.

    `days` are those that are there and accepted, `filled` those of them that hold rows; `refused` those whose latest
    verdict is red or that are blocked or late, with the reason: their last known good rows, if any, are not in `rows`.
    `late` are those of them that wait for a delivery.
    `version` is None while the table does not exist.
    """

    table: str
    rows: pl.LazyFrame
    days: frozenset[date]
    filled: frozenset[date]
    refused: Mapping[date, str]
    version: int | None
    late: frozenset[date] = frozenset()

    def of(self, day: date, partition_column: str = "partition_date") -> pl.DataFrame:
        """The rows of one day."""
        return self.rows.filter(pl.col(partition_column) == day).collect()


@dataclass(frozen=True, slots=True)
class DayBatch:
    """Rows to write, one verdict a day judged, and why the other days of the range have no rows.

    `blocked` days cannot be computed because something they need is refused or missing; `late` ones because a delivery
    that they rest on has not come, which is nobody's fault here. `empty` days have nothing to compute, by design: they
    are stored without rows, with the reason. `quarantined` holds the refused rows: day, list
    of reasons, payload as JSON. `leave_out` names columns that are no part of the content (artefact bytes, run ids),
    `add_columns` those that may be new to the table. `notes` are shown beside a day. `delivered` is the hash of what
    each day was made from outside the lake, `deliveries` what else is known of it, a row a day.
    """

    rows: pl.DataFrame
    verdicts: Mapping[date, Verdict]
    blocked: Mapping[date, str] = field(default_factory=dict)
    late: Mapping[date, str] = field(default_factory=dict)
    empty: Mapping[date, str] = field(default_factory=dict)
    quarantined: pl.DataFrame | None = None
    leave_out: frozenset[str] = frozenset()
    add_columns: frozenset[str] = frozenset()
    notes: Mapping[date, Mapping[str, object]] = field(default_factory=dict)
    delivered: Mapping[date, str] = field(default_factory=dict)
    deliveries: pl.DataFrame | None = None

    @property
    def judged(self) -> frozenset[date]:
        """Every day something was found out about; rows of any other day have no place in the batch."""
        return frozenset(self.verdicts) | frozenset(self.blocked) | frozenset(self.late) | frozenset(self.empty)

    @property
    def accepted(self) -> list[date]:
        """The days that may be written, in order: those judged good, and those with nothing to compute."""
        return sorted({day for day, verdict in self.verdicts.items() if verdict.passed} | set(self.empty))

    @property
    def rejected(self) -> list[date]:
        """The days judged bad, in order."""
        return sorted(day for day, verdict in self.verdicts.items() if not verdict.passed)

    @property
    def refused(self) -> dict[date, str]:
        """The days judged bad, blocked or late, in order, with the reason."""
        red = {day: "; ".join(self.verdicts[day].reasons) for day in self.rejected}
        return dict(sorted({**self.late, **self.blocked, **red}.items()))
