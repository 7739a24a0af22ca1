"""Scores during the day: the daily predictions to the last bit, nothing known later, bad rows refused in a sentence.

What belongs here: `ml_assets.score` and `ml-assets score` over replayed homes. What does not: the join itself
(`test_point_in_time.py`).
"""

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from short_year import END, FIRST, FIRST_TRAINING, SECOND_TRAINING, Platform, short_catalog
from test_explain import newest_known

import ml_assets
from ml_assets.__main__ import main
from ml_assets.domain.errors import CatalogError, MissingPartitionError, ScoringError
from ml_assets.domain.local_days import DAY
from ml_assets.scoring import Scores, columns_needed, score_rows
from resources.settings import HOME_VARIABLE

CATALOG = short_catalog()
MODEL = CATALOG.models["disruption"]
TABLE, SPINE = "predictions/disruption", "features/schedule"
SERVED = SECOND_TRAINING + timedelta(days=2)
LATER = datetime(2013, 4, 10, tzinfo=UTC)
NOON = datetime(2013, 3, 21, 16, tzinfo=UTC)


def asked(platform: Platform, day: date = SERVED, columns: tuple[str, ...] = ()) -> pl.DataFrame:
    """The spine's rows that the daily run predicted, in another order."""
    predicted = platform.rows(TABLE, day)["row_key"].to_list()
    rows = platform.rows(SPINE, day).filter(pl.col("row_key").is_in(predicted)).sample(fraction=1, shuffle=True, seed=3)
    return rows.select(columns or rows.columns)


def scores(platform: Platform, rows: pl.DataFrame, as_of: datetime | None = LATER) -> Scores:
    return score_rows(platform.lake, CATALOG, "disruption", rows, as_of)


@pytest.mark.parametrize("day", [FIRST_TRAINING + timedelta(days=1), SECOND_TRAINING, SERVED, END - timedelta(days=1)])
def test_rows_of_a_day_are_scored_as_the_daily_run_scored_them_to_the_last_bit(replayed: Platform, day: date) -> None:
    rows = asked(replayed, day)
    found = scores(replayed, rows)
    assert found.rows["row_key"].equals(rows["row_key"])
    assert found.rows.sort("row_key").equals(replayed.rows(TABLE, day).sort("row_key").select(found.rows.columns))
    assert found.rows.height > 500
    assert not [remark for remark in found.remarks if "champion" in remark]


def test_rows_of_several_days_at_once_are_each_served_by_their_own_day(replayed: Platform) -> None:
    days = [SECOND_TRAINING - timedelta(days=1), SECOND_TRAINING, SERVED]
    found = scores(replayed, pl.concat([asked(replayed, day) for day in days])).rows
    stored = pl.concat([replayed.rows(TABLE, day) for day in days])
    assert found.sort("row_key").equals(stored.sort("row_key").select(found.columns))
    assert found["model_version"].n_unique() == 2


def test_only_what_is_needed_of_a_row_must_be_given(replayed: Platform) -> None:
    needed = columns_needed(MODEL, CATALOG)
    assert scores(replayed, asked(replayed, columns=needed)).rows.equals(scores(replayed, asked(replayed)).rows)


def test_nothing_known_after_the_instant_counts(replayed: Platform) -> None:
    """Each feature is that of the newest row known at the instant, found a row at a time among all that is stored."""
    rows = asked(replayed, columns=columns_needed(MODEL, CATALOG)).filter(
        pl.col("event_time") - MODEL.prediction_lead > NOON
    )
    found = scores(replayed, rows, NOON)
    assert found.rows["prediction_time"].unique().to_list() == [NOON]
    by_key = {row["row_key"]: row for row in found.features.iter_rows(named=True)}
    changed = 0
    for name in ("carrier_delays", "origin_delays", "inbound_aircraft"):
        group = CATALOG.features[name]
        stored = pl.concat([replayed.rows(f"features/{name}", SERVED - timedelta(days=back)) for back in range(4)])
        for row in rows.gather_every(29).iter_rows(named=True):
            entity = {key: row[key] for key in group.entity}
            assert group.max_age
            best = newest_known(stored, entity, NOON, group.max_age)
            for value in group.values:
                if f"{name}.{value}" in MODEL.features:
                    assert by_key[row["row_key"]][f"{name}__{value}"] == (best[value] if best else None)
            changed += best is not None
    assert changed > 10


def test_the_champion_is_the_newest_that_served_by_then(replayed: Platform) -> None:
    """A flight of tomorrow is scored by today's champion, and it is said."""
    today = datetime(SECOND_TRAINING.year, SECOND_TRAINING.month, SECOND_TRAINING.day, tzinfo=UTC) - timedelta(hours=4)
    needed = columns_needed(MODEL, CATALOG)
    found = scores(replayed, asked(replayed, SECOND_TRAINING, needed), today)
    before = replayed.rows("calibrators/disruption", SECOND_TRAINING - timedelta(days=1)).row(0, named=True)
    assert found.rows["calibrator_version"].unique().to_list() == [before["calibrator_version"]]
    assert any(f"events of {SECOND_TRAINING} are scored by the champion" in remark for remark in found.remarks)


def test_a_group_that_is_behind_is_said(copied: Callable[[], Platform]) -> None:
    platform = copied()
    tomorrow = pl.col("event_time") + pl.duration(days=9)
    rows = asked(platform, END - timedelta(days=1), columns_needed(MODEL, CATALOG)).with_columns(tomorrow)
    found = scores(platform, rows, LATER)
    said = [remark for remark in found.remarks if remark.startswith("features/carrier_delays")]
    number = f"{rows.height} of {rows.height} rows"
    assert said == [f"features/carrier_delays has no value for {number}; none of the days it needs is there"]
    assert found.rows["probability"].null_count() == 0


def test_no_row_gives_no_score(replayed: Platform) -> None:
    assert scores(replayed, asked(replayed).clear()).rows.is_empty()


def given(**columns: pl.Expr) -> Callable[[pl.DataFrame], pl.DataFrame]:
    return lambda rows: rows.with_columns(**columns)


@pytest.mark.parametrize(
    ("bend", "told"),
    [
        (lambda rows: rows.drop("tailnum"), "no column 'tailnum'; to score disruption they need row_key, event_time"),
        (
            given(event_time=pl.col("event_time").dt.replace_time_zone(None)),
            "event_time: Datetime(time_unit='us', time_zone=None) came, wanted Datetime",
        ),
        (
            given(event_time=pl.lit("yesterday")),
            "event_time: yesterday came, wanted Datetime(time_unit='us', time_zone='UTC')",
        ),
        (given(row_key=pl.lit("one")), "1 row_keys come more than once, first 'one'"),
        (given(row_key=pl.lit(None, pl.String)), "row_key is null in"),
        (given(distance=pl.lit("far")), "distance: far came, wanted Float64"),
        (given(distance=pl.lit([1.0])), "distance: List(Float64) came, wanted Float64"),
        (given(known_at=pl.lit(LATER + timedelta(days=9))), "rows became known after their score is needed, first"),
    ],
)
def test_rows_that_cannot_be_scored_are_refused_in_a_sentence(
    replayed: Platform, bend: Callable[[pl.DataFrame], pl.DataFrame], told: str
) -> None:
    with pytest.raises(ScoringError) as refused:
        scores(replayed, bend(asked(replayed)))
    assert told in str(refused.value)


def test_an_instant_without_a_zone_an_unknown_model_and_no_champion_are_told(replayed: Platform) -> None:
    with pytest.raises(ScoringError, match="says no time zone"):
        scores(replayed, asked(replayed), datetime(2013, 3, 21))  # noqa: DTZ001  that is what is refused
    with pytest.raises(CatalogError, match=r"no model is named 'delay'; there are disruption"):
        score_rows(replayed.lake, CATALOG, "delay", asked(replayed))
    with pytest.raises(MissingPartitionError, match="no champion of disruption serves on"):
        scores(replayed, replayed.rows(SPINE, FIRST))


@pytest.fixture
def at_home(replayed: Platform, monkeypatch: pytest.MonkeyPatch) -> Platform:
    monkeypatch.setenv(HOME_VARIABLE, str(replayed.path))
    return replayed


@pytest.mark.parametrize("ending", ["csv", "parquet", "jsonl"])
def test_a_file_is_scored_at_the_command_line(
    at_home: Platform, ending: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows, file, out = asked(at_home), tmp_path / f"rows.{ending}", tmp_path / "scores.parquet"
    texts = rows.with_columns(pl.col("event_time", "known_at").dt.to_string("iso:strict"))
    {"csv": texts.write_csv, "parquet": rows.write_parquet, "jsonl": texts.write_ndjson}[ending](file)
    asking = ["score", "disruption", "--rows", str(file), "--as-of", LATER.isoformat(), "--out", str(out)]
    assert main(asking) == 0
    assert f"{rows.height:,} rows scored" in capsys.readouterr().out
    assert pl.read_parquet(out).equals(ml_assets.score("disruption", rows, LATER))
    assert main([*asking, "--json"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == rows.height


def test_without_a_file_the_newest_day_of_the_spine_is_scored(
    at_home: Platform, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["score", "disruption", "--as-of", NOON.isoformat(), "--json"]) == 0
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {each[DAY] for each in said} == {str(SERVED)}
    assert len(said) == at_home.rows(TABLE, SERVED).height


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--rows", "rows.txt"], "rows.txt ends with '.txt'; wanted one of .csv, .parquet, .jsonl, .ndjson"),
        (["--rows", "absent.csv"], "absent.csv cannot be read as CSV"),
        (["--as-of", "noon"], "'noon' is no instant; wanted one with its offset"),
        (["--as-of", "2013-03-21T12:00:00"], "wanted one with its offset"),
    ],
)
def test_what_cannot_be_read_is_told_in_one_sentence(
    at_home: Platform, arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["score", "disruption", *arguments]) == 1
    assert told in capsys.readouterr().err
