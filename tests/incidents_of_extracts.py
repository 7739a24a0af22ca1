"""Kinds of incident in delivered extracts, each a function from the day's right extract to a broken one.

What belongs here: what goes wrong at a supplier, in a parser, in a transfer. What does not: what should notice it.
Every kind is gross: it would move probabilities, lose or add rows, or falsify labels. Seeded by kind and day.
"""

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import polars as pl

DAY = "partition_date"
NEW_YORK = "America/New_York"


@dataclass(frozen=True)
class Delivery:
    """A day's extract, the generator of its incident, and what was delivered for other days."""

    day: date
    frame: pl.DataFrame
    rng: np.random.Generator
    archive: Callable[[date], pl.DataFrame]

    def share(self, part: float) -> pl.Series:
        """A mask that is true for about `part` of the rows."""
        return pl.Series(self.rng.random(self.frame.height) < part)

    def of(self, days_before: int) -> pl.DataFrame:
        """The extract of an earlier day, dated as today's."""
        return self.archive(self.day - timedelta(days=days_before)).with_columns(pl.lit(self.day).alias(DAY))

    def shuffled(self, column: str) -> pl.Series:
        """The column's values in another order."""
        return self.frame[column].gather(self.rng.permutation(self.frame.height))


Change = Callable[[Delivery], pl.DataFrame]


@dataclass(frozen=True)
class Incident:
    """One kind of incident: where it strikes, what family it is of, what it does."""

    name: str
    table: str
    family: str
    change: Change

    def strike(self, day: date, frame: pl.DataFrame, archive: Callable[[date], pl.DataFrame]) -> pl.DataFrame:
        """The broken frame of a day: the same for the same kind and day."""
        rng = np.random.default_rng(zlib.crc32(f"{self.table}/{self.name}/{day}".encode()))
        return self.change(Delivery(day, frame, rng, archive))


def _set(**columns: pl.Expr) -> Change:
    return lambda d: d.frame.with_columns(**columns)


def _drop(condition: pl.Expr) -> Change:
    return lambda d: d.frame.filter(~condition.fill_null(value=False))


def _lose(part: float) -> Change:
    return lambda d: d.frame.filter(~d.share(part))


def _null(part: float, *columns: str) -> Change:
    def change(d: Delivery) -> pl.DataFrame:
        gone = d.share(part)
        return d.frame.with_columns(pl.when(~gone).then(pl.col(name)).alias(name) for name in columns)

    return change


def _minutes_later(column: str, minutes: int) -> pl.Expr:
    clock = pl.col(column) // 100 * 60 + pl.col(column) % 100 + minutes
    return (clock % 1440 // 60 * 100 + clock % 60).alias(column)


def _doubled(d: Delivery) -> pl.DataFrame:
    again = d.frame.with_columns(pl.col("flight") % 9000 + 999)
    return pl.concat([d.frame, again])


def _doubled_in_part(d: Delivery) -> pl.DataFrame:
    again = d.frame.filter(d.share(0.4)).with_columns(pl.col("flight") % 9000 + 999)
    return pl.concat([d.frame, again])


def _mix(part: float, days_before: int) -> Change:
    """Part of the rows are those of an earlier day."""

    def change(d: Delivery) -> pl.DataFrame:
        stale = d.of(days_before)
        keys = ["carrier", "flight", "origin"]
        kept = d.frame.filter(~d.share(part))
        return pl.concat([kept, stale.join(kept, on=keys, how="anti").select(kept.columns)])

    return change


def _moved(*columns: str) -> Change:
    """The columns come shuffled among the rows, together."""

    def change(d: Delivery) -> pl.DataFrame:
        order = d.rng.permutation(d.frame.height)
        return d.frame.with_columns(d.frame[name].gather(order) for name in columns)

    return change


def _noise(column: str, size: float) -> Change:
    def change(d: Delivery) -> pl.DataFrame:
        noise = pl.Series(d.rng.normal(0, size, d.frame.height))
        kind = d.frame.schema[column]
        return d.frame.with_columns((pl.col(column) + noise).round().cast(kind).alias(column))

    return change


def _swapped(first: str, second: str) -> Change:
    return _set(**{first: pl.col(second), second: pl.col(first)})


def _of_yesterday(column: str, on: tuple[str, ...]) -> Change:
    """One column is the day before's, row by row."""

    def change(d: Delivery) -> pl.DataFrame:
        old = d.of(1).select(*on, pl.col(column).alias("old")).unique(on)
        return (
            d.frame.join(old, on=list(on), how="left", maintain_order="left")
            .with_columns(pl.col("old").alias(column))
            .drop("old")
        )

    return change


dep, arr, distance = pl.col("dep_delay"), pl.col("arr_delay"), pl.col("distance")
carrier, origin, dest = pl.col("carrier"), pl.col("origin"), pl.col("dest")

FLIGHTS: Mapping[str, tuple[str, Change]] = {
    # Rows that are not there, or too many of them.
    "half the rows": ("volume", _lose(0.5)),
    "a third of the rows lost": ("volume", _lose(0.35)),
    "the feed dies at noon": ("volume", _drop(pl.col("sched_dep_time") >= 1200)),
    "the feed begins at noon": ("volume", _drop(pl.col("sched_dep_time") < 1200)),
    "the evening is missing": ("volume", _drop(pl.col("sched_dep_time") >= 1700)),
    "three hours are missing": ("volume", _drop(pl.col("sched_dep_time").is_between(900, 1159))),
    "one airport missing": ("volume", _drop(origin == "LGA")),
    "one airline missing": ("volume", _drop(carrier == "UA")),
    "another airline missing": ("volume", _drop(carrier == "EV")),
    "late flights missing": ("volume", _drop(arr >= 15)),
    "cancelled flights missing and on time ones halved": (
        "volume",
        lambda d: d.frame.filter(dep.is_not_null() & ((arr > 0) | ~pl.lit(d.share(0.5)))),
    ),
    "twice the rows under new numbers": ("volume", _doubled),
    "part of the rows twice under new numbers": ("volume", _doubled_in_part),
    "one airport twice under new numbers": (
        "volume",
        lambda d: pl.concat([d.frame, d.frame.filter(origin == "EWR").with_columns(pl.col("flight") % 9000 + 999)]),
    ),
    # What was delivered before.
    "yesterday's file re-dated": ("repeat", lambda d: d.of(1)),
    "last week's file re-dated": ("repeat", lambda d: d.of(7)),
    "last month's file re-dated": ("repeat", lambda d: d.of(28)),
    "half of yesterday's file": ("repeat", _mix(0.5, 1)),
    "half of last week's file": ("repeat", _mix(0.5, 7)),
    "delays of the day before": ("repeat", _of_yesterday("arr_delay", ("carrier", "flight", "origin"))),
    # Values that are not there.
    "arrival delays mostly null": ("null", _null(0.85, "arr_delay")),
    "arrival delays a third null": ("null", _null(0.33, "arr_delay")),
    "both delays a third null": ("null", _null(0.33, "dep_delay", "arr_delay")),
    "both delays mostly null": ("null", _null(0.7, "dep_delay", "arr_delay")),
    "one airline's delays null": ("null", _set(arr_delay=pl.when(carrier != "B6").then(arr))),
    "tail numbers mostly null": ("null", _null(0.45, "tailnum")),
    "late arrivals null": ("null", _set(arr_delay=pl.when(arr < 45).then(arr))),
    "null arrival delays become 0": ("null", _set(dep_delay=dep.fill_null(0), arr_delay=arr.fill_null(0))),
    # Units, signs, scales.
    "arrival delays in hours": ("unit", _set(arr_delay=(arr / 60).round().cast(pl.Int64))),
    "both delays in hours": (
        "unit",
        _set(dep_delay=(dep / 60).round().cast(pl.Int64), arr_delay=(arr / 60).round().cast(pl.Int64)),
    ),
    "both delays in tens of minutes": (
        "unit",
        _set(dep_delay=(dep / 10).round().cast(pl.Int64), arr_delay=(arr / 10).round().cast(pl.Int64)),
    ),
    "departure delays times ten": ("unit", _set(dep_delay=(dep * 10).clip(-120, 3000))),
    "arrival delays negated": ("unit", _set(arr_delay=(-arr).clip(-240, 3000))),
    "both delays negated": ("unit", _set(dep_delay=(-dep).clip(-120, 3000), arr_delay=(-arr).clip(-240, 3000))),
    "early arrivals cut to 0": ("unit", _set(arr_delay=arr.clip(0))),
    "delays capped at half an hour": ("unit", _set(dep_delay=dep.clip(upper_bound=29), arr_delay=arr.clip(None, 29))),
    "distance in kilometres": ("unit", _set(distance=(distance * 1.609).round().cast(pl.Int64).clip(10, 6000))),
    "distance in nautical miles": ("unit", _set(distance=(distance * 0.869).round().cast(pl.Int64))),
    "arrival delays an hour too long": ("unit", _set(arr_delay=arr + 60)),
    "both delays an hour too long": ("unit", _set(dep_delay=dep + 60, arr_delay=arr + 60)),
    # Columns that stand still or lost their meaning.
    "arrival delay constant": ("frozen", _set(arr_delay=pl.when(arr.is_not_null()).then(5))),
    "both delays 0": ("frozen", _set(dep_delay=pl.when(dep.is_not_null()).then(0), arr_delay=arr * 0)),
    "distance constant": ("frozen", _set(distance=pl.lit(1000, dtype=pl.Int64))),
    "delays rounded to tens": ("frozen", _set(dep_delay=dep // 10 * 10, arr_delay=arr // 10 * 10)),
    "every aircraft the same": ("frozen", _set(tailnum=pl.when(pl.col("tailnum").is_not_null()).then(pl.lit("N1")))),
    # Values in the wrong place.
    "arrival delays shuffled": ("relation", _moved("arr_delay")),
    "both delays shuffled apart": (
        "relation",
        lambda d: _moved("dep_delay")(Delivery(d.day, _moved("arr_delay")(d), d.rng, d.archive)),
    ),
    "distances shuffled": ("relation", _moved("distance")),
    "destinations shuffled": ("relation", _moved("dest", "dest_zone")),
    "carriers shuffled": ("relation", _moved("carrier")),
    "tail numbers shuffled": ("relation", _moved("tailnum")),
    "schedule shuffled": ("relation", _moved("sched_dep_time", "sched_arr_time")),
    "arrival delay blurred": ("relation", _noise("arr_delay", 25)),
    "arrival delay is noise": ("relation", _noise("arr_delay", 60)),
    # Categories.
    "an airline renamed": ("category", _set(carrier=pl.when(carrier == "DL").then(pl.lit("D1")).otherwise(carrier))),
    "three airlines merged": (
        "category",
        _set(carrier=pl.when(carrier.is_in(["AA", "US", "MQ"])).then(pl.lit("ZZ")).otherwise(carrier)),
    ),
    "a destination renamed": (
        "category",
        _set(dest=pl.when(dest.is_in(["ORD", "ATL", "LAX"])).then(pl.lit("XXX")).otherwise(dest)),
    ),
    "two airports swapped": (
        "category",
        _set(
            origin=pl.when(origin == "JFK")
            .then(pl.lit("EWR"))
            .when(origin == "EWR")
            .then(pl.lit("JFK"))
            .otherwise(origin)
        ),
    ),
    "every flight from one airport": ("category", _set(origin=pl.lit("JFK"))),
    # Clocks.
    "departures an hour later": ("clock", _set(sched_dep_time=_minutes_later("sched_dep_time", 60))),
    "schedule in UTC": (
        "clock",
        _set(
            sched_dep_time=_minutes_later("sched_dep_time", 300), sched_arr_time=_minutes_later("sched_arr_time", 300)
        ),
    ),
    "arrivals in New York time": (
        "clock",
        _set(dest_zone=pl.lit(NEW_YORK)),
    ),
    "minutes lost from the schedule": (
        "clock",
        _set(
            sched_dep_time=pl.col("sched_dep_time") // 100 * 100, sched_arr_time=pl.col("sched_arr_time") // 100 * 100
        ),
    ),
    "afternoons on a twelve hour clock": (
        "clock",
        _set(
            sched_dep_time=pl.when(pl.col("sched_dep_time") >= 1300)
            .then(pl.col("sched_dep_time") - 1200)
            .otherwise(pl.col("sched_dep_time"))
        ),
    ),
    # Labels falsified at their source.
    "every flight cancelled": ("label", _null(1.0, "dep_delay", "arr_delay")),
    "a quarter of the flights cancelled": ("label", _null(0.25, "dep_delay", "arr_delay")),
    "late flights on time": ("label", _set(arr_delay=pl.when(arr >= 30).then(10).otherwise(arr))),
    "flights on time are late": ("label", _set(arr_delay=pl.when(arr.is_between(-10, 0)).then(45).otherwise(arr))),
}

temp, dewp, humid = pl.col("temp"), pl.col("dewp"), pl.col("humid")


def _in_celsius(column: str) -> pl.Expr:
    return ((pl.col(column) - 32) / 1.8).round(2)


def _at_hours(hours: int) -> pl.Expr:
    format_ = "%Y-%m-%dT%H:%M:%SZ"
    instant = pl.col("time_hour").str.to_datetime(format_, time_zone="UTC") + pl.duration(hours=hours)
    return instant.dt.strftime(format_)


def _weather_of(days_before: int) -> Change:
    return lambda d: d.of(days_before).with_columns(
        pl.col("time_hour")
        .str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_zone="UTC")
        .dt.offset_by(f"{days_before}d")
        .dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    )


def _held(*columns: str) -> Change:
    """Each airport's first value of the day all day long."""
    return _set(**{name: pl.col(name).first().over("origin") for name in columns})


def _sensor(airport: str, **columns: pl.Expr) -> Change:
    return _set(**{n: pl.when(origin == airport).then(e).otherwise(pl.col(n)) for n, e in columns.items()})


VALUES = ("temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib")
WEATHER: Mapping[str, tuple[str, Change]] = {
    "temperature in Celsius": ("unit", _set(temp=_in_celsius("temp"))),
    "temperature and dew point in Celsius": ("unit", _set(temp=_in_celsius("temp"), dewp=_in_celsius("dewp"))),
    "wind in metres a second": ("unit", _set(wind_speed=pl.col("wind_speed") / 2.237)),
    "wind and gusts in knots": (
        "unit",
        _set(wind_speed=pl.col("wind_speed") / 1.151, wind_gust=pl.col("wind_gust") / 1.151),
    ),
    "wind in kilometres an hour": ("unit", _set(wind_speed=pl.col("wind_speed") * 1.609)),
    "visibility in kilometres": ("unit", _set(visib=pl.col("visib") * 1.609)),
    "humidity as a share": ("unit", _set(humid=humid / 100)),
    "precipitation in millimetres": ("unit", _set(precip=(pl.col("precip") * 25.4).clip(0, 10))),
    "temperature 25 degrees too high": ("unit", _set(temp=(temp + 25).clip(-40, 130))),
    "humidity inverted": ("unit", _set(humid=100 - humid)),
    "temperature all null in the afternoon": (
        "null",
        _set(temp=pl.when(pl.int_range(pl.len()).over("origin") < 13).then(temp)),
    ),
    "temperature 45% null": ("null", _null(0.45, "temp")),
    "humidity all null": ("null", _null(1.0, "humid")),
    "dew point all null": ("null", _null(1.0, "dewp")),
    "precipitation null instead of 0": ("null", _set(precip=pl.when(pl.col("precip") > 0).then(pl.col("precip")))),
    "gusts null": ("null", _null(1.0, "wind_gust")),
    "gusts 0 instead of null": ("null", _set(wind_gust=pl.col("wind_gust").fill_null(0.0))),
    "nulls become 0 and a third is null": (
        "null",
        lambda d: _null(0.33, "temp", "dewp", "humid")(d).with_columns(pl.col("temp", "dewp", "humid").fill_null(0.0)),
    ),
    "temperature frozen": ("frozen", _held("temp")),
    "every value frozen": ("frozen", _held(*VALUES)),
    "humidity frozen": ("frozen", _held("humid")),
    "pressure frozen": ("frozen", _held("pressure")),
    "temperature rounded to tens": ("frozen", _set(temp=(temp / 10).round() * 10)),
    "dew point is the temperature": ("relation", _set(dewp=temp)),
    "temperature and humidity swapped": ("relation", _swapped("temp", "humid")),
    "temperature shuffled": ("relation", _moved("temp")),
    "airports shuffled": ("relation", _moved(*VALUES)),
    "one airport's temperature stuck at 32": ("relation", _sensor("EWR", temp=pl.lit(32.0))),
    "one airport's humidity 0": ("relation", _sensor("JFK", humid=pl.lit(0.0))),
    "one airport missing": ("volume", _drop(origin == "LGA")),
    "the afternoon is missing": ("volume", lambda d: d.frame.filter(pl.int_range(pl.len()).over("origin") < 12)),
    "half the hours": ("volume", _lose(0.5)),
    "yesterday's file re-dated": ("repeat", _weather_of(1)),
    "last week's file re-dated": ("repeat", _weather_of(7)),
    "one airport three times": (
        "repeat",
        lambda d: pl.concat(
            [
                d.frame.filter(origin == "EWR").with_columns(origin=pl.lit(name, dtype=pl.String))
                for name in ("EWR", "JFK", "LGA")
            ]
        ),
    ),
    "hours moved by three": (
        "clock",
        lambda d: d.frame.with_columns(pl.col(name).shift(3).over("origin") for name in VALUES),
    ),
}

INCIDENTS = tuple(
    Incident(name, source, family, change)
    for source, kinds in (("flights", FLIGHTS), ("weather", WEATHER))
    for name, (family, change) in kinds.items()
)
