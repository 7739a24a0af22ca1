"""Every delivery is on record and kept: looked at, put back, and found out when somebody else wrote the file."""

import shutil
from collections.abc import Iterator
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import polars as pl
import pytest
from live_shop import A_DAY, TRAINED, at, at_work, dropped
from short_year import Platform
from test_late_days import said_by_the_sensor, status
from test_operate import carried_out

from ml_assets.__main__ import main
from ml_assets.domain.errors import ExtractError
from ml_assets.domain.status import DayState, TableDay
from ml_assets.operate import operate
from resources.deliveries import changed_extracts, deliver, kept_deliveries, put_back
from resources.extracts import Extracts

DAY = TRAINED - 2 * A_DAY


@pytest.fixture
def project(shop: Path, tmp_path: Path) -> Path:
    """A copy of the shop to write in."""
    return Path(shutil.copytree(shop, tmp_path / "shop"))


@pytest.fixture
def live(project: Path) -> Iterator[Platform]:
    """The platform over it."""
    with at_work(project) as platform:
        yield platform


def told(platform: Platform) -> dict[str, object]:
    """What the lake tells of the day's delivery."""
    return platform.rows("extracts/orders", DAY).row(0, named=True)


def extracts_of(platform: Platform) -> Extracts:
    return Extracts(platform.launcher.home.extracts)


def without_a_row(project: Path) -> Path:
    """A corrected file of the day: one order less."""
    lines = dropped(project, "orders", DAY).read_text().splitlines(keepends=True)
    corrected = project / "corrected.csv"
    corrected.write_text("".join(lines[:-1]))
    return corrected


def test_of_every_day_the_lake_tells_what_was_delivered_when_and_from_where(live: Platform, project: Path) -> None:
    file = dropped(project, "orders", DAY).read_bytes()
    row = told(live)
    assert row["sha256"] == sha256(file).hexdigest()
    assert row["size"] == len(file)
    assert str(row["delivered_from"]).endswith(f"data/orders_{DAY:%Y%m%d}.csv")
    assert row["delivered_at"]
    assert row["extract_sha256"] == sha256(live.extract("orders", DAY).read_bytes()).hexdigest()
    first = live.launcher.catalog.sources["orders"].calendar.first_day
    assert live.rows("extracts/orders").height == (TRAINED - first).days
    versions = live.versions()["extracts/orders"]
    # One commit a range: what a replay of 49 days costs.
    assert versions <= 2


def test_computing_events_anew_asks_nobody_and_tells_nothing_new(live: Platform, project: Path) -> None:
    before, version = told(live), live.versions()["extracts/orders"]
    dropped(project, "orders", DAY).write_text("changed by somebody since")
    live.run(["events/orders"], DAY)
    assert told(live) == before
    assert live.versions()["extracts/orders"] == version
    assert not live.lake.refused("events/orders", DAY, DAY + A_DAY)


def test_a_delivery_heals_by_itself_and_can_be_taken_back(live: Platform, project: Path) -> None:
    """A corrected file handed over, and no command that names a day: what rests on it follows, there and back."""
    source = live.launcher.catalog.sources["orders"]
    before, was = live.on_record(), told(live)
    said: list[str] = []
    deliver(extracts_of(live), source, DAY, without_a_row(project))
    operate(live.launcher, at(TRAINED), said.append)
    assert f"orders of {DAY} was delivered anew" in said
    now = live.on_record()
    assert {table for table in now if now[table][DAY] != before[table][DAY]} >= {
        "events/orders", "features/order", "features/customer_orders"
    }  # fmt: skip
    assert told(live)["sha256"] != was["sha256"]
    assert [each.now for each in kept_deliveries(extracts_of(live), source, DAY)] == [False, True]
    put_back(extracts_of(live), source, DAY, 1)
    operate(live.launcher, at(TRAINED), said.append)
    assert live.on_record() == before
    assert told(live) == was
    assert len(kept_deliveries(extracts_of(live), source, DAY)) == 3
    with pytest.raises(ExtractError, match=r"there is no delivery 9 of .*, wanted one of 1 to 3; nothing was changed"):
        put_back(extracts_of(live), source, DAY, 9)
    with pytest.raises(ExtractError, match="nothing is kept of"):
        put_back(extracts_of(live), source, TRAINED + timedelta(days=30), 1)
    assert put_back(extracts_of(live), source, DAY, 3).unchanged


def test_the_sensor_takes_a_delivery_in(live: Platform, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sensors.due.clock", lambda: at(TRAINED))
    assert carried_out(live) == []
    deliver(extracts_of(live), live.launcher.catalog.sources["orders"], DAY, without_a_row(project))
    assert carried_out(live) == [(("events/orders",), str(DAY))]
    assert any(step.table == "features/order" for step in live.plan().steps)


def test_a_file_that_somebody_changed_is_found_and_waits_for_a_persons_wish(
    live: Platform, project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    extract = live.extract("orders", DAY)
    pl.read_parquet(extract)[:-1].write_parquet(extract)
    before = live.on_record()
    (found,) = changed_extracts(extracts_of(live), live.lake, "orders")
    assert (found.day, found.handed_over) == (DAY, False)
    assert f"{extract} was changed, and not by a delivery: its SHA-256 is" in found.why
    operate(live.launcher, at(TRAINED), lambda _: None)
    assert live.on_record() == before
    assert "delivered" not in said_by_the_sensor(live, monkeypatch)
    monkeypatch.setenv("ML_ASSETS_PROJECT", str(project))
    monkeypatch.setenv("ML_ASSETS_HOME", str(project / ".ml_assets"))
    assert main(["plan"]) == 0
    out = capsys.readouterr().out
    assert f"changed: orders of {DAY}: " in out
    assert f"ml-assets repair events/orders {DAY}" in out
    assert main(["status"]) == 0
    assert "was changed, and not by a delivery" in " ".join(capsys.readouterr().out.split())
    live.repair(["events/orders"], DAY)
    assert changed_extracts(extracts_of(live), live.lake, "orders") == []
    assert status(live).cells[TableDay("events/orders", DAY)].state is DayState.GOOD
    assert live.on_record()["features/order"][DAY] != before["features/order"][DAY]
    assert told(live)["delivered_from"] is None


def test_what_was_delivered_can_be_looked_at_and_put_back_from_the_command_line(
    live: Platform, project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ML_ASSETS_PROJECT", str(project))
    monkeypatch.setenv("ML_ASSETS_HOME", str(project / ".ml_assets"))
    first = live.extract("orders", DAY).read_bytes()
    assert main(["deliver", "orders", str(DAY), str(without_a_row(project))]) == 0
    assert main(["deliveries", "orders", str(DAY)]) == 0
    out = capsys.readouterr().out
    assert "2 now" in out
    assert sha256(dropped(project, "orders", DAY).read_bytes()).hexdigest()[:12] in out
    assert main(["deliveries", "orders", str(DAY), "--put-back", "1"]) == 0
    assert live.extract("orders", DAY).read_bytes() == first
    assert main(["deliveries", "orders", str(DAY), "--put-back", "7"]) == 1
    assert "there is no delivery 7" in capsys.readouterr().err
    assert main(["deliveries", "orders", str(TRAINED + 20 * A_DAY)]) == 1
    assert "Nothing was delivered for orders" in capsys.readouterr().out
