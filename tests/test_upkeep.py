"""Upkeep deletes what nobody can need and nothing on which a record rests: planted leftovers, planted references."""

import json
import os
import shutil
import time
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from short_year import ALL_DAYS, CORRECTED, SECOND_TRAINING, SOURCES, Platform, correct, days

from ml_assets.__main__ import main
from ml_assets.domain.errors import StorageError, TableUnreadableError
from ml_assets.domain.local_days import DAY
from resources.records import reads_of
from resources.settings import HOME_VARIABLE
from resources.upkeep import needed_versions, upkeep

WEEK, DAYS_AGO = 168, 30
GROUP = "features/carrier_delays"
# Features look three days back.
LAST_CHANGED = CORRECTED + timedelta(days=3)
Contents = dict[tuple[str, int], pl.DataFrame]


@pytest.fixture
def used(platform: Platform) -> Platform:
    """A home in which a day was corrected twice: the middle content of its features is of use to nobody."""
    for _ in range(2):
        correct(platform.extract("flights", CORRECTED))
        platform.repair(SOURCES[:1], CORRECTED)
    return platform


def aged(home: Path) -> None:
    """Sets back by a month when files were removed, and forgets what would notice that logs were rewritten."""
    for log in (home / "lake").glob("*/*/_delta_log/*"):
        if log.suffix != ".json":
            log.unlink()
            continue
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        for line in lines:
            if "remove" in line:
                line["remove"]["deletionTimestamp"] -= DAYS_AGO * 24 * 3_600_000
        log.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))
    shutil.rmtree(home / "marks")


def at_version(platform: Platform, table: str, version: int) -> pl.DataFrame:
    snapshot = platform.lake.store.snapshot(table, version=version)
    assert snapshot
    return snapshot.collect(snapshot.scan(*ALL_DAYS))


def recorded(platform: Platform) -> Contents:
    """What every version holds that a training set, model, calibrator or champion was ever made from."""
    wanted = {
        (read.table, read.version)
        for stage in ("training_sets", "models", "calibrators", "champions")
        for commit in platform.lake.store.commits_after(f"{stage}/disruption", -1)
        for read in reads_of(commit).values()
        if read.version is not None
    }
    return {(table, version): at_version(platform, table, version) for table, version in sorted(wanted)}


def newest(platform: Platform) -> dict[str, pl.DataFrame]:
    return {table: platform.rows(table) for table in platform.tables()}


def middle_version(platform: Platform) -> int:
    """The version of a feature group that holds the first of the two corrections."""
    commits = platform.lake.store.commits_after(GROUP, -1)
    written = [each.version for each in commits if str(CORRECTED) in json.loads(each.metadata.get("days", "{}"))]
    return written[-2]


def test_what_records_rest_on_stays_readable_and_the_rest_is_deleted(used: Platform) -> None:
    lake, graph, middle = used.lake, used.launcher.graph, middle_version(used)
    before, tables = recorded(used), newest(used)
    trained = next(version for table, version in before if table == GROUP)
    assert middle not in {version for table, version in before if table == GROUP}
    old, new = (at_version(used, GROUP, version).filter(pl.col(DAY) == CORRECTED) for version in (trained, middle))
    assert not old.equals(new), "a training set rests on what the day held before it was corrected"
    aged(used.path)
    orphan = used.path / "lake" / GROUP / f"{DAY}={CORRECTED}" / "part-00000-left.parquet"
    orphan.write_bytes(b"left by a killed writer")
    os.utime(orphan, (time.time() - DAYS_AGO * 24 * 3600,) * 2)
    files = used.files()

    told = {each.done.table: each for each in upkeep(lake, graph, keep_hours=WEEK)}

    deleted = files - used.files()
    assert f"{GROUP}/{DAY}={CORRECTED}/part-00000-left.parquet" in deleted
    of_features = {file.split("/")[2] for file in deleted if file.startswith("features/")}
    assert of_features <= {f"{DAY}={day}" for day in days(CORRECTED, LAST_CHANGED)}
    assert sum(each.done.files for each in told.values()) == len(deleted)
    assert told[GROUP].done.files == sum(file.startswith(f"{GROUP}/") for file in deleted)
    assert told[GROUP].done.kept > 0
    assert "training_sets/disruption" in told[GROUP].needed_by[trained]
    assert recorded(used).keys() == before.keys()
    assert all(now.equals(before[at]) for at, now in recorded(used).items())
    assert all(now.equals(tables[table]) for table, now in newest(used).items())
    with pytest.raises(TableUnreadableError, match="is gone"):
        at_version(used, GROUP, middle)
    assert used.plan().steps == ()
    again = upkeep(lake, graph, keep_hours=WEEK)
    assert sum(each.done.files for each in again) == 0
    assert used.files() == files - deleted


def test_a_version_that_only_a_stale_fact_rests_on_is_kept_until_it_is_computed_anew(platform: Platform) -> None:
    """Features were corrected, predictions not yet: what they were scored on can still be read."""
    lake, graph = platform.lake, platform.launcher.graph
    commit = lake.commit_of("predictions/disruption", CORRECTED)
    assert commit
    scored_on = reads_of(commit)["carrier_delays"].version
    assert scored_on is not None
    assert "predictions/disruption" not in needed_versions(lake, graph).get(GROUP, {}).get(scored_on, set())
    correct(platform.extract("flights", CORRECTED))
    platform.run([*SOURCES, GROUP], CORRECTED)
    assert "predictions/disruption" in needed_versions(lake, graph)[GROUP][scored_on]
    platform.repair()
    assert "predictions/disruption" not in needed_versions(lake, graph)[GROUP].get(scored_on, set())


def test_a_champion_of_an_earlier_model_keeps_that_models_versions(platform: Platform) -> None:
    """The first model is trained anew; the day's earlier candidate, its training set and features stay readable."""
    table = "models/disruption"
    first = platform.lake.commit_of(table, SECOND_TRAINING)
    assert first
    training_set = reads_of(first)["training_set"].version
    correct(platform.extract("flights", CORRECTED))
    platform.repair(SOURCES[:1], CORRECTED)
    platform.run(["training_sets/disruption", table], SECOND_TRAINING, anew=True)
    second = platform.lake.commit_of(table, SECOND_TRAINING)
    assert second
    assert reads_of(second)["training_set"].version != training_set
    assert training_set is not None
    before = at_version(platform, "training_sets/disruption", training_set)
    aged(platform.path)
    upkeep(platform.lake, platform.launcher.graph, keep_hours=1)
    assert at_version(platform, "training_sets/disruption", training_set).equals(before)


def test_a_table_that_is_declared_no_more_keeps_what_it_rests_on(used: Platform) -> None:
    graph = used.launcher.graph
    fewer = type(graph)({name: asset for name, asset in graph.assets.items() if name != "training_sets/disruption"})
    assert needed_versions(used.lake, fewer) == needed_versions(used.lake, graph)


def test_recent_versions_stay_readable_whoever_needs_them(used: Platform) -> None:
    files, middle = used.files(), middle_version(used)
    told = upkeep(used.lake, used.launcher.graph, keep_hours=WEEK)
    assert sum(each.done.files for each in told) == 0
    assert used.files() == files
    assert at_version(used, GROUP, middle).height
    with pytest.raises(StorageError, match="keep at least 1 hour"):
        upkeep(used.lake, used.launcher.graph, keep_hours=0)


def test_the_command_tells_and_with_dry_run_deletes_nothing(
    used: Platform, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    aged(used.path)
    monkeypatch.setenv(HOME_VARIABLE, str(used.path))
    monkeypatch.setenv("COLUMNS", "200")
    files = used.files()
    assert main(["upkeep", "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert used.files() == files
    assert main(["upkeep"]) == 0
    done = capsys.readouterr().out
    count = len(files - used.files())
    assert count
    assert f"{count} files of" in told
    assert "would be deleted." in told
    assert f"{count} files of" in done
    row = next(line for line in done.splitlines() if line.startswith(f"│ {GROUP}"))
    assert int(row.strip("│").split("│")[1]) > 0
    assert "training_sets/disruption" in row
