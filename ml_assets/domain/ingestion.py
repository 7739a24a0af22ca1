"""From delivered extracts to events: each day's good rows, its refused rows and its verdict.

What belongs here: types, empty values, a row's own day, keys, doubles; what a row or a day is refused for.
What does not: reading files (`resources/extracts.py`), what a good row is (`ml_assets/catalog/sources`).

Days are worked on together where they can be, for speed, and apart where they cannot: one day's extract has no say in
the types, rows, keys or verdict of another day, so a range comes to what its days come to.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta

import polars as pl
from polars.exceptions import PanicException, PolarsError

from ml_assets.domain.contracts import FAILURES, REASON, DayLimits, contract_failures, judge_days
from ml_assets.domain.errors import ExtractError, MlAssetsError, RowsLostError
from ml_assets.domain.local_days import DAY, local_day
from ml_assets.domain.specs import SourceSpec
from ml_assets.domain.verdict import Verdict

EVENT_TIME = "event_time"
REASONS, PAYLOAD = "reasons", "payload"
QUARANTINE = pl.Schema({DAY: pl.Date(), REASONS: pl.List(pl.String), PAYLOAD: pl.String()})
DELIVERIES = pl.Schema(
    {
        DAY: pl.Date(),
        "sha256": pl.String(),
        "size": pl.Int64(),
        "delivered_at": pl.Datetime("us", "UTC"),
        "delivered_from": pl.String(),
        "extract_sha256": pl.String(),
    }
)
"""What is known of the delivery that a day's events were made from: hash and size of what came, when, from where; the
hash of the extract that keeps it. What an extract does not say of itself, because somebody put it there, is null."""
EPOCH = date(1970, 1, 1)
LAST_NUMBERED_DAY = date.max.toordinal() - EPOCH.toordinal()
# Beside a contract's columns for a while; no contract can name them.
AT, WHY = "delivered row", "refused for"

_INDEX = pl.int_range(pl.len(), dtype=pl.UInt32).alias("index")

Types = Mapping[str, pl.DataType]


@dataclass(frozen=True, slots=True)
class Ingested:
    """Events of the accepted days, one verdict a day, and the refused rows as delivered (JSON) with their reasons.

    Every delivered row of a day that could be read is in `rows`, or in `quarantined`, or is an exact double of one
    that is, counted in the day's verdict.
    """

    rows: pl.DataFrame
    verdicts: Mapping[date, Verdict]
    quarantined: pl.DataFrame


def ingest(source: SourceSpec, extracts: Mapping[date, pl.DataFrame], unreadable: Mapping[date, str]) -> Ingested:
    """What the days of `source` come to whose extracts were read; the unreadable ones are refused with their reason.

    Raises RowsLostError when rows of a day are unaccounted for, which no extract can cause.
    """
    whys = {day: _why_unfit(source, day, extracts[day]) for day in sorted(extracts)}
    fit = {day: extracts[day] for day, why in whys.items() if not why}
    parts = [
        *(_judged_apart(source, fit) if fit else ()),
        *(_refused(day, extracts[day], why) for day, why in whys.items() if why),
    ]
    verdicts = {day: Verdict(passed=False, reasons=(why,)) for day, why in unreadable.items()}
    for part in parts:
        verdicts |= part.verdicts
    no_events, no_refusals = pl.DataFrame(schema=event_types(source)), pl.DataFrame(schema=QUARANTINE)
    return Ingested(
        rows=pl.concat([no_events, *(part.rows for part in parts if part.rows.width)]).sort(DAY, *source.keys),
        verdicts=dict(sorted(verdicts.items())),
        quarantined=pl.concat([no_refusals, *(part.quarantined for part in parts)]).sort(DAY, maintain_order=True),
    )


def delivered_types(source: SourceSpec) -> Types:
    """The columns of the source's extracts that its events are made of, and their types."""
    return pl.Schema({DAY: pl.Date, **source.delivered})


def event_types(source: SourceSpec) -> Types:
    """The columns of the source's events and their types, in the contract's order."""
    return pl.Schema({name: column.dtype.type for name, column in source.contract.to_schema().columns.items()})


def misfits(came: Types, wanted: Types, *, text: bool = False) -> list[str]:
    """What keeps the columns that came from being those wanted: missing ones, and types that cannot stand in.

    Numbers may stand for numbers and instants for instants of another width or unit, as far as each value survives;
    categories for text; a column without any value for every other. With `text`, text may stand for what it can be
    read as, value by value.
    """
    missing = [name for name in wanted if name not in came]
    return ([f"without {', '.join(missing)}"] if missing else []) + [
        f"{name}: {came[name]} came, wanted {kind}"
        for name, kind in wanted.items()
        if name in came and not _may_stand_for(came[name], kind) and not (text and _is_readable(came[name], kind))
    ]


def _is_readable(came: pl.DataType, wanted: pl.DataType) -> bool:
    return came == pl.String and (wanted.is_numeric() or wanted in (pl.Boolean, pl.Date, pl.Datetime))


def _may_stand_for(came: pl.DataType, wanted: pl.DataType) -> bool:
    if came in (wanted, pl.Null):
        return True
    if isinstance(came, pl.Datetime) and isinstance(wanted, pl.Datetime):
        return (came.time_zone is None) == (wanted.time_zone is None)
    if wanted == pl.String:
        return came in (pl.Categorical, pl.Enum)
    return came.is_numeric() and wanted.is_numeric()


def _why_unfit(source: SourceSpec, day: date, extract: pl.DataFrame) -> str:
    """Why nothing can be made of the extract of `day`; "" when something can."""
    if found := misfits(extract.schema, delivered_types(source), text=source.origin.text):
        return f"the extract is not what the source declares ({'; '.join(found)}); deliver it again"
    numbers = extract[DAY].cast(pl.Date).to_physical()
    own = (day - EPOCH).days
    for number in (None if numbers.null_count() else own, numbers.min(), numbers.max()):
        if extract.height and number != own:
            return f"it holds rows of {_day_of(number)}, wanted {day} alone; deliver the extract of {day}"
    return ""


def _day_of(number: object) -> str:
    if not isinstance(number, int):
        return "no day"
    in_calendar = abs(number) < min(LAST_NUMBERED_DAY, EPOCH.toordinal())
    return str(EPOCH + timedelta(days=number)) if in_calendar else f"a day {number} days from {EPOCH}"


def _judged_apart(source: SourceSpec, extracts: Mapping[date, pl.DataFrame]) -> list[Ingested]:
    """All days together if nothing stands in the way, else halves of them, down to the days that are in the way."""
    try:
        return [_judged(source, extracts)]
    except ExtractError as error:
        if len(extracts) == 1:
            return [_refused(day, extract, str(error)) for day, extract in extracts.items()]
    days = list(extracts)
    first, second = days[: len(days) // 2], days[len(days) // 2 :]
    return [part for half in (first, second) for part in _judged_apart(source, {day: extracts[day] for day in half})]


def _refused(day: date, extract: pl.DataFrame, why: str) -> Ingested:
    reasons = pl.Series([[why]], dtype=QUARANTINE[REASONS]).new_from_index(0, extract.height)
    days = pl.Series([day], dtype=pl.Date).new_from_index(0, extract.height)
    return Ingested(
        rows=pl.DataFrame(),
        verdicts={day: Verdict(passed=False, reasons=(why,), measured={"rows": 0, "bad_rows": extract.height})},
        quarantined=pl.DataFrame({DAY: days, REASONS: reasons, PAYLOAD: as_json(extract)}, schema=QUARANTINE),
    )


def _judged(source: SourceSpec, extracts: Mapping[date, pl.DataFrame]) -> Ingested:
    """The days together. Raises ExtractError when a day among them lets nothing be made of them all."""
    try:
        delivered = _Delivered.of(source, extracts)
        rows = _judged_rows(source, delivered)
        verdicts = _verdicts(source, list(extracts), rows)
        red = {day: list(verdict.reasons) for day, verdict in verdicts.items() if not verdict.passed}
        quarantined = _quarantined(delivered, rows, red)
        accepted = rows.good.filter(~pl.col(DAY).is_in(list(red))).drop(AT)
    except MlAssetsError:
        raise
    except (Exception, PanicException) as error:
        # Polars, a contract and a source's own function may fail in any way; a day that makes them fail is refused.
        raise ExtractError(f"its rows cannot be judged ({told_of(error)}); deliver it again") from error
    _account(source, extracts, rows, accepted, quarantined)
    return Ingested(accepted, verdicts, quarantined)


@dataclass(frozen=True, slots=True)
class _Delivered:
    """Rows as delivered, in pieces of one schema each, and the same rows in the declared types, in the same order."""

    pieces: tuple[pl.DataFrame, ...]
    typed: pl.DataFrame
    failures: tuple[pl.DataFrame, ...]
    days: int

    @classmethod
    def of(cls, source: SourceSpec, extracts: Mapping[date, pl.DataFrame]) -> "_Delivered":
        """The extracts with what their types could not keep among the failures."""
        by_schema: dict[object, list[pl.DataFrame]] = {}
        for extract in extracts.values():
            by_schema.setdefault(tuple(extract.schema.items()), []).append(extract)
        pieces = tuple(pl.concat(alike) for alike in by_schema.values())
        typed, failures, first = [], [], 0
        for piece in pieces:
            kept, lost = in_types(piece, delivered_types(source), source.empty_text)
            typed.append(kept)
            failures += [each.with_columns(pl.col("index") + first) for each in lost]
            first += piece.height
        # Polars 2.1 may panic when text is put together of columns whose chunks differ, and each day is a chunk.
        return cls(pieces, pl.concat(typed, rechunk=True), tuple(failures), len(extracts))

    def payload(self, at: pl.Series) -> pl.Series:
        """The rows at the given places, as they were delivered, as JSON."""
        found, first = [], 0
        for piece in self.pieces:
            inside = at.filter((at >= first) & (at < first + piece.height)) - first
            found.append(as_json(piece[inside]))
            first += piece.height
        return pl.concat(found)


@dataclass(frozen=True, slots=True)
class _Rows:
    """Events that are good, bad ones with their reasons, each with its place; the days of exact doubles left out."""

    good: pl.DataFrame
    bad: pl.DataFrame
    doubles: Mapping[date, int]

    def bad_by_day(self) -> dict[date, int]:
        """How many rows of a day are bad."""
        return dict(self.bad.group_by(DAY).len().iter_rows())


def _judged_rows(source: SourceSpec, delivered: _Delivered) -> _Rows:
    events, failures = _events(source, delivered)
    failures += [_contract_breaches(source, events, delivered.days), _strayed(source, events)]
    judged = _with_reasons(events.with_row_index(AT), failures)
    twins = judged.filter(events.select(DAY, *source.keys).hash_rows().is_duplicated())
    doubles = _exact_doubles(twins, events.columns, delivered)
    single = judged
    if twins.height:
        contested = _contested_keys(source, twins.join(doubles, on=AT, how="anti"))
        judged_again = _with_reasons(events.with_row_index(AT), [*failures, contested])
        single = judged_again.join(doubles, on=AT, how="anti", maintain_order="left")
    return _Rows(
        good=single.filter(pl.col(WHY).is_null()).drop(WHY),
        bad=single.filter(pl.col(WHY).is_not_null()),
        doubles=dict(doubles.group_by(DAY).len().iter_rows()),
    )


def _events(source: SourceSpec, delivered: _Delivered) -> tuple[pl.DataFrame, list[pl.DataFrame]]:
    """One event a delivered row, in the contract's columns and types, and what kept rows from being events."""
    parsed = source.parse(delivered.typed.lazy()).collect()
    if found := misfits(parsed.schema, event_types(source)):
        raise ExtractError(f"the source's parse does not give the contract's columns ({'; '.join(found)}); mend it")
    if parsed.height != delivered.typed.height:
        made = f"{parsed.height} events of {delivered.typed.height} rows"
        raise ExtractError(f"the source's parse makes {made}, wanted one of each; mend it")
    events, lost = in_types(parsed, event_types(source), source.empty_text)
    if not events[DAY].equals(delivered.typed[DAY], check_names=False):
        raise ExtractError(f"the source's parse changes {DAY} or the order of rows, wanted both as delivered; mend it")
    return events.rechunk(), [*delivered.failures, *lost]


def in_types(
    frame: pl.DataFrame, types: Types, empty_text: tuple[str, ...] = ()
) -> tuple[pl.DataFrame, list[pl.DataFrame]]:
    """The columns in their types, nulls for what a type cannot hold, and those failures: place of the row, reason."""
    columns: list[pl.Series] = []
    failures: list[pl.DataFrame] = []
    for name, kind in types.items():
        column, lost = _in_type(frame[name], kind, may_be_empty=name in empty_text)
        columns.append(column.alias(name))
        failures += lost
    return pl.DataFrame(columns), failures


def _in_type(came: pl.Series, kind: pl.DataType, *, may_be_empty: bool) -> tuple[pl.Series, list[pl.DataFrame]]:
    """The column as `kind`, with nulls for empty values and for those that `kind` cannot hold, which are failures."""
    failures: list[pl.DataFrame] = []
    kept = came
    if came.dtype == pl.String and kind != pl.String:
        said = _where(came.str.strip_chars() != "", came)
        kept = read_text(said, kind)
        failures.append(_failures(came, said.is_not_null() & kept.is_null(), str(kind)))
    if kept.dtype.is_float() and not (finite := kept.is_finite()).all():
        failures.append(_failures(came, kept.is_infinite(), "a finite number"))
        kept = _where(finite, kept)
    if kept.dtype != kind:
        there, kept = kept, kept.cast(kind, strict=False)
        if there.dtype.is_numeric() or there.dtype.is_temporal():
            lost = there.ne_missing(kept.cast(there.dtype, strict=False))
            failures.append(_failures(there, lost, str(kind)))
            kept = _where(~lost, kept)
    if kept.dtype == pl.String and not may_be_empty and (blank := kept == "").any():
        kept = _where(~blank, kept)
    return kept, [failure for failure in failures if failure.height]


def read_text(came: pl.Series, kind: pl.DataType) -> pl.Series:
    """Text read as another type, null where it cannot be; an instant needs its zone said, a number may be 3.0 for 3."""
    text = came.str.strip_chars()
    if kind == pl.Boolean:
        return text.str.to_lowercase().replace_strict(TRUTH, default=None, return_dtype=pl.Boolean)
    if kind == pl.Date:
        return text.str.to_date("%Y-%m-%d", strict=False)
    if isinstance(kind, pl.Datetime):
        zoned = kind.time_zone is not None
        spelt = text.str.replace("[Zz]$", "+00:00") if zoned else text
        unit = kind.time_unit
        read = [
            spelt.str.to_datetime(f"{form}{'%#z' if zoned else ''}", time_unit=unit, strict=False) for form in INSTANTS
        ]
        found = pl.select(pl.coalesce(read)).to_series()
        return found.dt.convert_time_zone(kind.time_zone or "UTC") if zoned else found
    read_number = text.cast(kind, strict=False)
    if not kind.is_integer():
        return read_number
    whole = text.cast(pl.Float64, strict=False)
    return read_number.zip_with(read_number.is_not_null() | (whole != whole.round()), whole.cast(kind, strict=False))


TRUTH = {"true": True, "t": True, "yes": True, "1": True, "false": False, "f": False, "no": False, "0": False}
INSTANTS = ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M")


def _where(keep: pl.Series, column: pl.Series) -> pl.Series:
    return pl.select(pl.when(keep).then(column)).to_series()


def _failures(came: pl.Series, failed: pl.Series, wanted: str) -> pl.DataFrame:
    at = failed.fill_null(value=False).arg_true()
    reasons = pl.format(f"{came.name}: {{}} came, wanted {wanted}", pl.lit(came[at].cast(pl.String).fill_null("null")))
    return pl.DataFrame({"index": at}, schema_overrides=FAILURES).with_columns(reasons.alias(REASON))


def _contract_breaches(source: SourceSpec, events: pl.DataFrame, days: int) -> pl.DataFrame:
    cases = contract_failures(events, source.contract)
    of_all = cases.filter(pl.col("index").is_null())
    if of_all.is_empty():
        return cases
    if days > 1:
        raise ExtractError("the contract blames no row, so each day has to be judged on its own")
    everywhere = events.select(_INDEX).join(of_all.select(REASON), how="cross")
    return pl.concat([cases.filter(pl.col("index").is_not_null()), everywhere])


def _strayed(source: SourceSpec, events: pl.DataFrame) -> pl.DataFrame:
    """Events whose local day is not the day of the extract they came in, or which have none."""
    zone = source.calendar.timezone
    own = events.select(_INDEX, DAY, own=local_day(pl.col(EVENT_TIME), zone))
    strayed = own.filter(pl.col("own").ne_missing(pl.col(DAY))).rechunk()
    return strayed.select(
        "index",
        pl.format(
            f"{EVENT_TIME}: its day in {zone} is {{}}, wanted {{}}",
            pl.col("own").dt.to_string("%Y-%m-%d").fill_null("unknown"),
            pl.col(DAY).dt.to_string("%Y-%m-%d"),
        ).alias(REASON),
    )


def _with_reasons(rows: pl.DataFrame, failures: list[pl.DataFrame]) -> pl.DataFrame:
    """The rows with the reasons for which each is refused, null where there are none."""
    by_row = (
        pl.concat([pl.DataFrame(schema=FAILURES), *failures])
        .group_by(pl.col("index").alias(AT))
        .agg(pl.col(REASON).unique().sort().alias(WHY))
    )
    if by_row.is_empty():
        return rows.with_columns(pl.lit(None, dtype=pl.List(pl.String)).alias(WHY))
    return rows.join(by_row, on=AT, how="left", maintain_order="left")


def _exact_doubles(twins: pl.DataFrame, columns: list[str], delivered: _Delivered) -> pl.DataFrame:
    """Place and day of every row that is there already: good rows by their event, bad ones as they were delivered.

    Two bad rows may differ only in what could not be made sense of, and then neither may be lost.
    """
    good, bad = twins.filter(pl.col(WHY).is_null()), twins.filter(pl.col(WHY).is_not_null())
    if bad.height:
        bad = bad.select(AT, DAY, pl.col(WHY).list.join("\n"), delivered.payload(bad[AT]).alias(PAYLOAD))
    return pl.concat(
        rows.join(rows.unique(same, keep="first", maintain_order=True), on=AT, how="anti").select(AT, DAY)
        for rows, same in ((good, columns), (bad, [DAY, WHY, PAYLOAD] if bad.height else columns))
    )


def _contested_keys(source: SourceSpec, twins: pl.DataFrame) -> pl.DataFrame:
    """Failures of rows that share their key on one day, bad rows included: nobody knows which of them is right."""
    keys = [DAY, *source.keys]
    return (
        twins.drop_nulls(keys)
        .filter(pl.struct(keys).is_duplicated())
        .rechunk()
        .select(
            pl.col(AT).alias("index"),
            pl.format(
                "{} came more than once with different contents, wanted each " + ", ".join(source.keys) + " once a day",
                pl.concat_str(source.keys, separator="|"),
            ).alias(REASON),
        )
    )


def _verdicts(source: SourceSpec, days: list[date], rows: _Rows) -> dict[date, Verdict]:
    limits = DayLimits(min_rows=source.min_rows, key=source.keys, max_null_share=source.max_null_share)
    bad = rows.bad_by_day()
    verdicts = judge_days(
        rows.good,
        days,
        limits,
        bad_rows=bad,
        max_bad_row_share=source.max_bad_row_share,
        hollow={day: "nothing is delivered for this day" for day in days if not source.delivers(day)},
    )
    return {day: _remarked(verdict, rows.doubles.get(day, 0), bad.get(day, 0)) for day, verdict in verdicts.items()}


def _remarked(verdict: Verdict, doubles: int, bad: int) -> Verdict:
    """The verdict with what was left out of a day, so that a tolerated loss is no silent one."""
    notes = [f"{doubles} rows came that were there already, equal in every column; one of each was kept"] * bool(
        doubles
    )
    if bad and verdict.passed:
        came = bad + int(str(verdict.measured["rows"]))
        notes.append(f"{bad} of {came} rows break the contract and were set aside in the quarantine")
    return replace(verdict, measured={**verdict.measured, "exact_duplicates": doubles}, notes=(*verdict.notes, *notes))


def _quarantined(delivered: _Delivered, rows: _Rows, red: Mapping[date, list[str]]) -> pl.DataFrame:
    """Every row that is not let through: bad rows, and all rows of a rejected day."""
    of_red_days = rows.good.filter(pl.col(DAY).is_in(list(red))).select(
        AT,
        DAY,
        pl.col(DAY)
        .replace_strict(list(red), list(red.values()), default=None, return_dtype=pl.List(pl.String))
        .alias(REASONS),
    )
    refused = pl.concat([rows.bad.select(AT, DAY, pl.col(WHY).alias(REASONS)), of_red_days]).sort(AT)
    return refused.select(DAY, REASONS, delivered.payload(refused[AT]).alias(PAYLOAD))


def _account(
    source: SourceSpec,
    extracts: Mapping[date, pl.DataFrame],
    rows: _Rows,
    accepted: pl.DataFrame,
    quarantined: pl.DataFrame,
) -> None:
    kept, held = (dict(frame.group_by(DAY).len().iter_rows()) for frame in (accepted, quarantined))
    for day, extract in extracts.items():
        parts = {"good": kept.get(day, 0), "refused": held.get(day, 0), "doubled": rows.doubles.get(day, 0)}
        if sum(parts.values()) != extract.height:
            told = ", ".join(f"{number} {kind}" for kind, number in parts.items())
            raise RowsLostError(
                f"source {source.name!r}, {day}: {extract.height} rows were delivered, but {told} were counted. "
                "Nothing was written; this is a defect of the platform, report it with the extract."
            )


def told_of(error: BaseException) -> str:
    """What an error says, on one line that is the same whenever the same thing fails."""
    if isinstance(error, PanicException):
        # Its text names threads, which differ from run to run.
        return "Polars panics over it"
    first_line = next(iter(str(error).splitlines()), "")
    return first_line if isinstance(error, PolarsError | OSError) else f"{type(error).__name__}: {first_line}"


def as_json(frame: pl.DataFrame) -> pl.Series:
    """One JSON object a row, whatever the types: what JSON has no form for is encoded or, at the least, named."""
    if not frame.columns:
        return pl.Series(["{}"]).new_from_index(0, frame.height)
    try:
        return _encoded([_plain(column) for column in frame])
    except (PolarsError, PanicException):
        return _encoded([_shown(column) for column in frame])


def _encoded(columns: list[pl.Series]) -> pl.Series:
    return pl.DataFrame(columns).select(pl.struct(pl.all()).struct.json_encode()).to_series()


def _plain(column: pl.Series) -> pl.Series:
    return column.bin.encode("base64") if column.dtype == pl.Binary else column


def _shown(column: pl.Series) -> pl.Series:
    plain = _plain(column)
    try:
        _encoded([plain])
    except (PolarsError, PanicException):
        # An instant beyond the calendar has a number still.
        if plain.dtype.is_temporal():
            return plain.to_physical()
        return pl.Series(column.name, [f"a value of type {column.dtype}"]).new_from_index(0, len(column))
    return plain
