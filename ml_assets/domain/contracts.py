"""Which rows are good, which days are good, and why not.

What belongs here: what rows break a contract (pandera) and why; verdicts over days from counts.
What does not: storing bad rows, telling anybody (`resources`, `ml_assets/checks`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from types import MappingProxyType

import polars as pl
from pandera.errors import SchemaErrors
from pandera.polars import DataFrameModel

from ml_assets.domain.local_days import DAY
from ml_assets.domain.verdict import Verdict

REASON = "reason"
FAILURES = {"index": pl.UInt32, REASON: pl.String}


@dataclass(frozen=True, slots=True)
class DayLimits:
    """What a day of a table must hold: rows, a unique key, and at most so many nulls a column.

    Columns in `required` may not be null at all; `max_null_share` limits others; the rest may be null.
    """

    min_rows: int = 1
    key: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    max_null_share: Mapping[str, float] = field(default_factory=dict)

    def limit_of(self, column: str) -> float:
        """The greatest share of nulls allowed in `column`."""
        return 0.0 if column in self.required else self.max_null_share.get(column, 1.0)

    @property
    def limited_columns(self) -> tuple[str, ...]:
        """The columns with a limit on nulls, in order."""
        return tuple(dict.fromkeys((*self.required, *self.max_null_share)))


def column_descriptions(contract: type[DataFrameModel]) -> dict[str, str]:
    """What a contract says of its columns, for people; columns without a description are left out."""
    columns = contract.to_schema().columns
    return {name: column.description for name, column in columns.items() if column.description}


def contract_failures(frame: pl.DataFrame, contract: type[DataFrameModel]) -> pl.DataFrame:
    """Why rows of `frame` break `contract`: one line a failure, with the row's `index` and the `reason`.

    A failure that no row can be blamed for (a missing column, a wrong type) has no index.
    """
    try:
        contract.validate(frame, lazy=True)
    except SchemaErrors as errors:
        cases: pl.DataFrame = errors.failure_cases
        return cases.rechunk().select(pl.col("index").cast(pl.UInt32), _reason().alias(REASON))
    return pl.DataFrame(schema=FAILURES)


def joint_checks(contract: type[DataFrameModel]) -> list[str]:
    """The checks of `contract` that give one answer for a frame instead of one for each of its rows."""
    schema = contract.to_schema()
    columns = {name: pl.Series([None, None], dtype=column.dtype.type) for name, column in schema.columns.items()}
    two_rows = pl.DataFrame(columns).lazy()
    checks = [("*", check) for check in schema.checks]
    checks += [(name, check) for name, column in schema.columns.items() for check in column.checks]
    return [str(check.name) for name, check in checks if _answers(check(two_rows, name).check_output) != 2]


def _answers(output: pl.LazyFrame | pl.DataFrame | bool) -> int:
    return 1 if isinstance(output, bool) else output.lazy().select(pl.len()).collect().item()


def _reason() -> pl.Expr:
    """What a failure case of pandera says, on one line, with the name of the check that failed."""
    came = pl.col("failure_case").cast(pl.String).fill_null("null").str.split("\n").list.first()
    of_column = pl.col("schema_context") == "Column"
    return (
        pl.when(pl.col("check") == "column_in_dataframe")
        .then(pl.format("column {} is missing", came))
        # The row itself is what came, and it is stored beside its reasons.
        .when(~of_column & pl.col("index").is_not_null())
        .then(pl.format("row: it breaks {}", "check"))
        .otherwise(
            pl.format(
                "{}: {} came, wanted {}",
                pl.when(of_column).then(pl.col("column")).otherwise(pl.lit("row")),
                came,
                "check",
            )
        )
    )


def judge_days(
    frame: pl.DataFrame,
    days: Sequence[date],
    limits: DayLimits,
    *,
    bad_rows: Mapping[date, int] | None = None,
    max_bad_row_share: float = 0.0,
    hollow: Mapping[date, str] = MappingProxyType({}),
) -> dict[date, Verdict]:
    """One verdict a day: enough rows, keys unique, nulls within limits, bad rows within tolerance.

    `frame` holds the rows that would be written, with a `partition_date`; `bad_rows` counts those already
    left out of it. Days that are `hollow` need no rows, with the reason. One pass over the frame, whatever the number
    of days.
    """
    counted, of_hollow = _counts(frame, limits), replace(limits, min_rows=0)
    return {
        day: _noted(
            _judge(
                counted.get(day, {}),
                of_hollow if day in hollow else limits,
                (bad_rows or {}).get(day, 0),
                max_bad_row_share,
            ),
            hollow.get(day, "a day may have no rows"),
        )
        for day in days
    }


def _noted(verdict: Verdict, why: str) -> Verdict:
    """The verdict with the reason for which a day without rows is good."""
    return replace(verdict, notes=(why,)) if verdict.passed and not verdict.measured["rows"] else verdict


def _counts(frame: pl.DataFrame, limits: DayLimits) -> dict[date, dict[str, int]]:
    doubled = pl.struct(limits.key).is_duplicated().sum() if limits.key else pl.lit(0)
    counts = (
        frame.lazy()
        .group_by(DAY)
        .agg(
            pl.len().alias("rows"),
            doubled.alias("doubled_keys"),
            *(pl.col(column).null_count().alias(f"null:{column}") for column in limits.limited_columns),
        )
    )
    return {row.pop(DAY): row for row in counts.collect().to_dicts()}


def _judge(counted: Mapping[str, int], limits: DayLimits, bad: int, max_bad_row_share: float) -> Verdict:
    rows = counted.get("rows", 0)
    reasons: list[str] = []
    if rows < limits.min_rows:
        reasons.append(f"{rows} rows came, wanted at least {limits.min_rows}")
    if doubled := counted.get("doubled_keys", 0):
        reasons.append(f"{doubled} rows share their key ({', '.join(limits.key)}), wanted unique keys")
    worst_column, worst_share = "", 0.0
    for column in limits.limited_columns:
        share = counted.get(f"null:{column}", 0) / rows if rows else 0.0
        if share > limits.limit_of(column):
            reasons.append(f"{column} is {share:.1%} null, wanted at most {limits.limit_of(column):.1%}")
        if share > worst_share:
            worst_column, worst_share = column, share
    if bad and bad / (bad + rows) > max_bad_row_share:
        reasons.append(
            f"{bad} of {bad + rows} rows break the contract ({bad / (bad + rows):.1%}), "
            f"wanted at most {max_bad_row_share:.1%}"
        )
    return Verdict(
        passed=not reasons,
        reasons=tuple(reasons),
        measured={
            "rows": rows,
            "bad_rows": bad,
            "most_null_column": worst_column,
            "most_null_share": worst_share,
        },
        limits={"min_rows": limits.min_rows, "max_bad_row_share": max_bad_row_share},
    )
