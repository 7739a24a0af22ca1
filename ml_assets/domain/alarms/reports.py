"""A day of a table against the accepted, unsuspect days before it: one row a rule, subject and segment.

What belongs here: which days may be learnt from, the verdict of every number, folding day by day.
What does not: what is measured (the rules beside this module), how limits are made (`limits.py`).
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from importlib import import_module
from pkgutil import iter_modules

import numpy as np
import numpy.typing as npt
import polars as pl

import ml_assets.domain.alarms as package
from ml_assets.domain.alarms.day_rows import Codes, DayRows, Floats
from ml_assets.domain.alarms.limits import expected, scale, score_limit
from ml_assets.domain.alarms.rule import LEARNT_DAYS, Measured, Rule
from ml_assets.domain.local_days import DAY
from ml_assets.domain.verdict import Verdict

REMEMBERED_DAYS = 120
SETTLED_DAYS = 14
Mask = npt.NDArray[np.bool_]
CAPPED_AT = 1.2
DIGITS = 9
FARTHEST = 1e12
ALL_SHOWN = 3
REPORTS: dict[str, pl.DataType] = {
    DAY: pl.Date(),
    "rule": pl.String(),
    "subject": pl.String(),
    "segment": pl.String(),
    "value": pl.Float64(),
    "expected": pl.Float64(),
    "deviation": pl.Float64(),
    "limit": pl.Float64(),
    "score": pl.Float64(),
    "n": pl.Int64(),
    "verdict": pl.String(),
    "reason": pl.String(),
}
REPORT_COLUMNS = {
    "rule": "what was looked at",
    "subject": "the column or columns it was measured of; rows for the day itself",
    "segment": "the part of the day it was measured of; empty for all of it",
    "value": "what was measured",
    "expected": "what is usual of late; null until enough days are known",
    "deviation": "how far from usual, as later days remember it",
    "limit": "how far from usual is no alarm; null until enough days are known",
    "score": "the deviation in units of past ones",
    "n": "rows it was measured of",
    "verdict": "usual, alarm, cleared by somebody, or no limit yet",
    "reason": "of an alarm, cleared or not, what is wrong, by how much and against which limit",
}
USUAL, ALARM, CLEARED, UNKNOWN = "usual", "alarm", "cleared", "no limit yet"


def rules() -> tuple[Rule, ...]:
    """Every rule declared in the files beside this one, in the order of their names."""
    modules = [import_module(f"{package.__name__}.{found.name}") for found in iter_modules(package.__path__)]
    found = [rule for module in modules for rule in getattr(module, "RULES", ())]
    return tuple(sorted(found, key=lambda rule: rule.name))


def look_back(watching: Sequence[Rule]) -> int:
    """How many days of rows before a day its report looks at."""
    return max(rule.look_back for rule in watching)


def day_reports(
    rows: DayRows,
    past: pl.DataFrame,
    days: Iterable[date],
    *,
    watching: Sequence[Rule],
    budget: float,
    cleared: Mapping[date, str],
) -> pl.DataFrame:
    """The reports of `days`, one after another, each from the rows and reports of the days before it.

    `rows` hold the accepted rows of the days and of `look_back` days before each; `past` the reports on record of
    other days, of which those of up to 120 days before a day count. `budget` is the share of healthy days that may
    raise an alarm; it is shared by the rules. Alarms of `cleared` days are told as cleared, with the reason. Of a day
    without rows it is said how many there are and were wanted.
    """
    measures = [(rule, rule.prepare(rows)) for rule in watching]
    wanted = sorted(set(days) & set(rows.days))
    memories = {rule.name: _Memory.of(rule, past, wanted) for rule in watching}
    suspect = set(past.filter(pl.col("verdict") == ALARM)[DAY]) - cleared.keys()
    reports = []
    for day in wanted:
        at = rows.days.index(day)
        learnt = _learnt(rows.days, at, suspect)
        alarmed = False
        for rule, measure in measures:
            measured = [each for each in measure(at, learnt) if np.isfinite(each.value)]
            found = memories[rule.name].judged(day, measured, suspect, budget / len(measures))
            alarmed |= bool(found.alarm.any())
            reports.append(found)
        if alarmed and day not in cleared:
            suspect.add(day)
    return _with_cleared(_frame(reports), cleared)


def _with_cleared(reports: pl.DataFrame, cleared: Mapping[date, str]) -> pl.DataFrame:
    """The reports with the alarms of cleared days told as such."""
    if not cleared:
        return reports
    why = pl.col(DAY).replace_strict(dict(cleared), default=None, return_dtype=pl.String)
    lifted = (pl.col("verdict") == ALARM) & why.is_not_null()
    return reports.with_columns(
        verdict=pl.when(lifted).then(pl.lit(CLEARED)).otherwise("verdict"),
        reason=pl.when(lifted).then(pl.format("cleared ({}): {}", why, "reason")).otherwise("reason"),
    )


def _learnt(days: Sequence[date], at: int, suspect: set[date]) -> Codes:
    first = days[at] - timedelta(days=LEARNT_DAYS)
    found = [
        earlier
        for earlier in range(max(at - LEARNT_DAYS, 0), at)
        if days[earlier] >= first and may_be_learnt(days[earlier], days[at], suspect)
    ]
    return np.array(found, dtype=np.int64)


def may_be_learnt(earlier: date, day: date, suspect: set[date]) -> bool:
    """Whether `day` may learn of an earlier day: one without alarm, or one of so long ago that it is the usual now."""
    return earlier not in suspect or (day - earlier).days > SETTLED_DAYS


@dataclass
class _Memory:
    """The past of a rule: value, deviation and score of each subject and segment (columns) on each day (rows)."""

    rule: Rule
    days: list[date]
    columns: dict[tuple[str, str], int]
    value: Floats
    deviation: Floats
    score: Floats

    @classmethod
    def of(cls, rule: Rule, past: pl.DataFrame, wanted: Sequence[date]) -> "_Memory":
        """What a rule's stored reports remember."""
        mine = past.filter(pl.col("rule") == rule.name, ~pl.col(DAY).is_in(list(wanted)))
        # Days on which the rule had nothing to measure count as days, too.
        days = sorted({*past[DAY].unique(), *wanted})
        columns = {
            key: index
            for index, key in enumerate(mine.select("subject", "segment").unique().sort(pl.all()).iter_rows())
        }
        value, deviation = (np.full((len(days), max(2 * len(columns), 16)), np.nan) for _ in range(2))
        score = np.full(len(days), np.nan)
        if mine.height:
            place = pl.DataFrame({DAY: days}, schema={DAY: pl.Date}).with_row_index("at")
            at = mine.select(DAY).join(place, on=DAY, maintain_order="left")["at"].to_numpy().astype(np.int64)
            column = (
                mine.select(pl.struct("subject", "segment").rank("dense")).to_series().to_numpy().astype(np.int64) - 1
            )
            value[at, column] = mine["value"].to_numpy()
            deviation[at, column] = mine["deviation"].fill_null(float("nan")).to_numpy()
            np.fmax.at(score, at, mine["score"].fill_null(float("nan")).to_numpy())
        return cls(rule, days, columns, value, deviation, score)

    def judged(self, day: date, measured: list[Measured], suspect: set[date], false_alarms: float) -> "_Judged":
        """The verdicts of a day's numbers, which are remembered."""
        at = bisect_left(self.days, day)
        columns = np.array([self._column(each.subject, each.segment) for each in measured], dtype=np.int64)
        usable = np.array(
            [
                index
                for index, earlier in enumerate(self.days[:at])
                if (day - earlier).days <= REMEMBERED_DAYS and may_be_learnt(earlier, day, suspect)
            ],
            dtype=np.int64,
        )
        values = np.array([each.value for each in measured], dtype=np.float64).clip(-FARTHEST, FARTHEST).round(DIGITS)
        weekday = np.array([self.days[index].weekday() == day.weekday() for index in usable], dtype=np.bool_)
        past, deviations = (kept[np.ix_(usable, columns)] for kept in (self.value, self.deviation))
        if not np.isnan(self.rule.absent):
            deviations = np.where(np.isnan(past), 0.0, deviations)
            past = np.where(np.isnan(past), self.rule.absent, past)
        usual = expected(past, weekday, self.rule.usual)
        usual = np.where(usual > self.rule.most_usual, np.nan, usual)
        sizes = scale(deviations, self.rule.floor)
        away = np.abs(values - usual)
        scores = away / sizes
        calm = np.array([index for index in usable if self.days[index] not in suspect], dtype=np.int64)
        limit = score_limit(self.score[calm], false_alarms)
        self.value[at, columns] = values
        # An outlier that was let pass must not widen the limit for weeks.
        self.deviation[at, columns] = np.where(np.isnan(sizes), away, np.fmin(away, CAPPED_AT * sizes))
        self.score[at] = np.max(scores, initial=-1, where=~np.isnan(scores)) if (~np.isnan(scores)).any() else np.nan
        return _Judged(day, self.rule, measured, values, usual, self.deviation[at, columns], limit * sizes, scores)

    def _column(self, subject: str, segment: str) -> int:
        found = self.columns.setdefault((subject, segment), len(self.columns))
        if found >= self.value.shape[1]:
            room = ((0, 0), (0, found))
            self.value = np.pad(self.value, room, constant_values=np.nan)
            self.deviation = np.pad(self.deviation, room, constant_values=np.nan)
        return found


@dataclass(frozen=True)
class _Judged:
    """The numbers of a day that a rule measured, each with what is usual and how far from it is no alarm."""

    day: date
    rule: Rule
    measured: list[Measured]
    values: Floats
    expected: Floats
    deviation: Floats
    limit: Floats
    score: Floats

    @property
    def alarm(self) -> Mask:
        """Which numbers are further from usual than the limit."""
        return np.abs(self.values - self.expected) > self.limit


def _frame(judged: Sequence[_Judged]) -> pl.DataFrame:
    """Reports as a table; texts are put together once for all days."""
    if not judged:
        return pl.DataFrame(schema=REPORTS)
    times = [len(each.measured) for each in judged]
    of_rows = np.repeat(np.arange(len(judged)), times)
    limit, alarm = (np.concatenate([getattr(each, name) for each in judged]) for name in ("limit", "alarm"))
    expected_, score = (np.concatenate([getattr(each, name) for each in judged]) for name in ("expected", "score"))
    frame = pl.DataFrame(
        {
            DAY: pl.Series([each.day for each in judged], dtype=pl.Date).gather(of_rows),
            "rule": pl.Series([each.rule.name for each in judged]).gather(of_rows),
            "subject": [number.subject for each in judged for number in each.measured],
            "segment": [number.segment for each in judged for number in each.measured],
            "value": np.concatenate([each.values for each in judged]),
            "expected": expected_,
            "deviation": np.concatenate([each.deviation for each in judged]),
            "limit": limit,
            "score": score,
            "n": [number.n for each in judged for number in each.measured],
            "verdict": np.where(alarm, ALARM, np.where(np.isnan(score * limit), UNKNOWN, USUAL)),
        }
    ).with_columns(pl.col("expected", "deviation", "limit", "score").fill_nan(None), pl.lit("").alias("reason"))
    told = [_reason(row) for row in frame.filter(alarm).to_dicts()]
    reasons = pl.Series("reason", [""]).new_from_index(0, frame.height).scatter(np.flatnonzero(alarm), told)
    return frame.with_columns(reasons).select(*REPORTS).cast(pl.Schema(REPORTS))


def _reason(row: Mapping[str, object]) -> str:
    where = f" ({row['segment']})" if row["segment"] else ""
    return (
        f"{row['rule']}: {row['subject']}{where} is {row['value']:.4g}, {row['expected']:.4g} is usual, "
        f"at most {row['limit']:.4g} away from it; {row['n']} rows"
    )


def alarm_verdicts(reports: pl.DataFrame, days: Iterable[date]) -> dict[date, Verdict]:
    """One verdict a day: which alarms it raised, the furthest from usual first, of how many numbers."""
    told = reports.filter(pl.col("verdict") == ALARM).sort(DAY, "score", descending=[False, True])
    reasons = dict(told.group_by(DAY).agg("reason").iter_rows())
    counted = dict(reports.group_by(DAY).agg(pl.struct(pl.len(), (pl.col("verdict") != UNKNOWN).sum())).iter_rows())
    return {
        day: Verdict(
            passed=day not in reasons,
            reasons=tuple(_shown(reasons.get(day, []))),
            measured={"numbers": counted[day]["len"], "with a limit": counted[day]["verdict"]}
            if day in counted
            else {},
        )
        for day in days
    }


def _shown(reasons: Sequence[str]) -> list[str]:
    more = len(reasons) - ALL_SHOWN
    return [*reasons[:ALL_SHOWN], *([f"and {more} more of the same day"] if more > 0 else [])]


def with_outcome(reports: pl.DataFrame) -> dict[date, dict[str, object]]:
    """For each day, to be shown beside it, how many of its numbers raised an alarm and the first of the reasons."""
    alarms = reports.group_by(DAY).agg((pl.col("verdict") == ALARM).sum()).sort(DAY)
    first = alarms_by_day(reports)
    return {
        day: {"alarms": count, **({"alarm": first[day].split("; ")[0]} if day in first else {})}
        for day, count in alarms.iter_rows()
    }


def suspect_days(reports: Mapping[str, pl.DataFrame]) -> dict[date, str]:
    """The days with an alarm that nobody has cleared, in order, each with the source and the worst of its reasons."""
    found: dict[date, str] = {}
    for source, report in reports.items():
        for day, why in alarms_by_day(report).items():
            found.setdefault(day, f"{source}: {why.split('; ')[0]}")
    return dict(sorted(found.items()))


def alarms_by_day(reports: pl.DataFrame) -> Mapping[date, str]:
    """For each day with an alarm its reasons, the furthest from usual first."""
    told = reports.filter(pl.col("verdict") == ALARM).sort(DAY, "score", descending=[False, True])
    return {
        day: "; ".join(reasons) for day, reasons in told.group_by(DAY, maintain_order=True).agg("reason").iter_rows()
    }
