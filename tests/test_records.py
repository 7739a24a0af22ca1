"""What a commit records of what its days rest on, held against what the tables hold at the recorded versions."""

import hashlib
from datetime import date, timedelta

import polars as pl
import pytest
from short_year import (
    CORRECTED,
    FIRST,
    FIRST_TRAINING,
    NOT_CONTENT,
    SECOND_TRAINING,
    SOURCES,
    Platform,
    correct,
    days,
)

from ml_assets.domain.content import content_hashes
from ml_assets.domain.local_days import DAY
from partitions import DayRange, Window
from resources.delta_store import CommitRecord
from resources.records import DayNote, WasRead, as_metadata, delivered_in, reads_of

ONE_DAY = timedelta(days=1)
MODEL_STAGES = ["training_sets", "models", "calibrators", "champions", "predictions"]


def reads(platform: Platform, table: str, day: date) -> dict[str, WasRead]:
    commit = platform.lake.commit_of(table, day)
    assert commit is not None
    return reads_of(commit)


def contents_at(platform: Platform, read: WasRead) -> dict[date, str]:
    """The hash of each day with rows that the recorded version holds, computed from the rows."""
    snapshot = platform.lake.store.snapshot(read.table, version=read.version)
    assert snapshot
    rows = snapshot.scan(date(2000, 1, 1), date(2100, 1, 1)).collect()
    return content_hashes(rows, leave_out=NOT_CONTENT if read.table.startswith("models/") else ())


@pytest.mark.parametrize("stage", MODEL_STAGES)
@pytest.mark.parametrize("day", [FIRST_TRAINING, SECOND_TRAINING])
def test_each_stage_of_a_model_records_the_content_of_all_that_it_read(
    replayed: Platform, stage: str, day: date
) -> None:
    table = f"{stage}/disruption"
    found = reads(replayed, table, day)
    declared = replayed.launcher.graph[table].reads
    windowed = {name for name, read in declared.items() if not read.by_version}
    assert windowed <= set(found)
    for name, read in found.items():
        assert read.table == declared[name].table
        assert read.version is not None
        if read.window is None:
            continue
        assert read.window == declared[name].window
        held = contents_at(replayed, read)
        wanted = set(read.window.of(DayRange(day, day + ONE_DAY)))
        filled = set(replayed.rows(read.table)[DAY])
        assert {each for each in read.contents if each in wanted} >= wanted & filled & set(held)
        # Days of its own past that the run itself wrote are newer than the version it read.
        same = [each for each in read.contents if each in held and read.table != table]
        assert {each: read.contents[each] for each in same} == {each: held[each] for each in same}


def test_a_training_set_rests_on_every_day_before_it(replayed: Platform) -> None:
    found = reads(replayed, "training_sets/disruption", SECOND_TRAINING)
    before = set(days(FIRST, SECOND_TRAINING - ONE_DAY))
    for name in ("labels", "schedule", "weather"):
        assert set(found[name].contents) == before, name


def test_predictions_name_their_models_and_rest_on_the_calibrators_of_their_days(replayed: Platform) -> None:
    table = "predictions/disruption"
    for day in (FIRST_TRAINING, SECOND_TRAINING + 2 * ONE_DAY):
        commit = replayed.lake.commit_of(table, day)
        assert commit
        of_commit = replayed.lake.index.of(table).filter(pl.col("recorded_at") == commit.version)[DAY]
        rows = replayed.rows(table).filter(pl.col(DAY).is_in(of_commit.implode()))
        assert set(reads_of(commit)["models"].named) == set(rows["model_version"])
        calibrators = replayed.rows("calibrators/disruption").filter(pl.col(DAY).is_in(of_commit.implode()))
        assert set(calibrators["calibrator_version"]) == set(rows["calibrator_version"])
        assert set(calibrators[DAY]) <= set(reads_of(commit)["calibrators"].contents)
        assert set(commit.metadata["input:models/disruption:named"].split(", ")) == set(rows["model_version"])
        for read in ("models", "calibrators"):
            assert commit.metadata[f"input:{read}/disruption"] == str(reads_of(commit)[read].version)


def test_days_without_rows_record_no_contents(replayed: Platform) -> None:
    assert reads(replayed, "training_sets/disruption", FIRST) == {}
    assert reads(replayed, "predictions/disruption", FIRST) == {}


@pytest.mark.parametrize("source", ["flights", "weather"])
def test_the_hash_of_the_extract_stands_in_the_commit_of_events(platform: Platform, source: str) -> None:
    def recorded() -> tuple[str, str]:
        commit = platform.lake.commit_of(f"events/{source}", CORRECTED)
        assert commit
        file = platform.extract(source, CORRECTED).read_bytes()
        return delivered_in(commit)[CORRECTED], hashlib.sha256(file).hexdigest()

    before, of_file = recorded()
    assert before == of_file
    pl.read_parquet(platform.extract(source, CORRECTED))[1:].write_parquet(platform.extract(source, CORRECTED))
    platform.run([f"events/{source}"], CORRECTED)
    after, of_file = recorded()
    assert before != after == of_file


def test_after_a_repair_facts_record_the_new_content_and_decisions_keep_the_old(platform: Platform) -> None:
    trained = reads(platform, "training_sets/disruption", SECOND_TRAINING)
    served = reads(platform, "predictions/disruption", CORRECTED)
    correct(platform.extract("flights", CORRECTED))
    platform.repair(SOURCES[:1], CORRECTED)
    assert reads(platform, "training_sets/disruption", SECOND_TRAINING) == trained
    now = reads(platform, "predictions/disruption", CORRECTED)
    group = "carrier_delays"
    assert now[group].contents[CORRECTED] != served[group].contents[CORRECTED]
    assert now[group].contents[CORRECTED] == platform.contents([f"features/{group}"])[f"features/{group}"][CORRECTED]
    assert trained[group].contents[CORRECTED] == contents_at(platform, trained[group])[CORRECTED]


def test_a_red_day_has_no_content_for_its_readers(platform: Platform) -> None:
    platform.extract("flights", CORRECTED).unlink()
    platform.run([*SOURCES, "features/schedule"], CORRECTED, CORRECTED)
    platform.run(["outcomes/disrupted"], CORRECTED + ONE_DAY, CORRECTED + ONE_DAY)
    found = reads(platform, "outcomes/disrupted", CORRECTED + ONE_DAY)
    assert set(found["flights"].contents) == {CORRECTED - ONE_DAY, CORRECTED + ONE_DAY}


def test_records_stay_small(replayed: Platform) -> None:
    """A range of a year over a window of 120 days: some 60 bytes for each day that was read, whoever reads it."""
    year = DayRange(date(2013, 1, 1), date(2014, 1, 1))
    window = Window(121, 1)
    contents = {day: f"{day.toordinal():048x}" for day in DayRange(date(2012, 1, 1), date(2014, 6, 1))}
    notes = {day: DayNote(f"{day.toordinal():048x}", inputs={"schedule": 2**64 - 1}) for day in year}
    told = as_metadata(notes, {"schedule": WasRead("features/schedule", 365, window, contents)})
    assert len(told["read"]) < 60 * (365 + 121)
    logs = list((replayed.path / "lake").glob("*/*/_delta_log/*.json"))
    assert len(logs) > 50
    assert max(log.stat().st_size for log in logs) < 40_000


def test_what_is_recorded_is_what_is_read_back() -> None:
    contents = {FIRST: "a", FIRST + ONE_DAY: "b", FIRST + 3 * ONE_DAY: "c", FIRST + 9 * ONE_DAY: "far"}
    made = {
        "past": WasRead("features/weather", 3, Window(3, 1), contents),
        "absent": WasRead("features/new", None, Window(2, 0)),
        "any": WasRead("models/m", 7, named={"2013-03-02-x", "2013-03-01-y"}),
    }
    day = FIRST + 3 * ONE_DAY
    told = as_metadata({day: DayNote("hash")}, made, {day: "of the extract", FIRST: "of another day"})
    commit = CommitRecord(4, None, "WRITE", told)  # type: ignore[arg-type]  # the time is not looked at
    found = reads_of(commit)
    assert found["past"] == WasRead("features/weather", 3, Window(3, 1), {FIRST: "a", FIRST + ONE_DAY: "b"})
    assert found["absent"] == made["absent"]
    assert found["any"] == made["any"]
    assert delivered_in(commit) == {day: "of the extract"}
