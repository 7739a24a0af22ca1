"""Deliveries after the first: a corrected file, an origin asked anew; what was there before can be put back."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import flights_archive
import polars as pl
import pytest
from test_origins import TWO
from toy import FIRST, loans

from ml_assets.__main__ import main
from ml_assets.begin import make_project
from ml_assets.domain.errors import ExtractError
from ml_assets.domain.ingestion import ingest
from ml_assets.domain.origins import DropFolder
from ml_assets.domain.specs import SourceSpec
from resources.deliveries import Delivery, deliver, provenance, pull
from resources.extracts import Extracts

CORRECTED = TWO.replace("100.5", "200")
TODAY = date(2025, 6, 2)
YESTERDAY = TODAY - timedelta(days=1)


@pytest.fixture
def dropped(tmp_path: Path) -> Path:
    """The file of the first day, read once."""
    file = tmp_path / "2025-03-01.csv"
    file.write_text(TWO)
    assert amounts(tmp_path) == [100.5, 7.0]
    return file


def source_of(folder: Path) -> SourceSpec:
    return loans(DropFolder(str(folder / "{day}.csv")))


def extracts_of(folder: Path) -> Extracts:
    return Extracts(folder / "extracts")


def amounts(folder: Path) -> list[float]:
    """What the first day's events come to."""
    read = extracts_of(folder).read(source_of(folder), [FIRST])
    return ingest(source_of(folder), read.rows, read.unreadable).rows["amount"].to_list()


def test_an_extract_says_what_was_delivered_when_and_from_where(dropped: Path) -> None:
    told = provenance(extracts_of(dropped.parent).path("loans", FIRST))
    assert told["sha256"] == sha256(TWO.encode()).hexdigest()
    assert told["size"] == str(len(TWO))
    assert told["from"] == str(dropped)
    assert datetime.now(UTC) - datetime.fromisoformat(told["at"]) < timedelta(hours=1)


Take = Callable[[Path], Delivery]


def handed_over(folder: Path) -> Delivery:
    corrected = folder / "corrected by the bank.csv"
    corrected.write_text(CORRECTED)
    return deliver(extracts_of(folder), source_of(folder), FIRST, corrected)


def asked_anew(folder: Path) -> Delivery:
    (folder / "2025-03-01.csv").write_text(CORRECTED)
    return pull(extracts_of(folder), source_of(folder), FIRST)


@pytest.mark.parametrize("take", [handed_over, asked_anew])
def test_a_delivery_takes_the_place_of_the_one_before_which_is_kept(dropped: Path, take: Take) -> None:
    folder = dropped.parent
    first = extracts_of(folder).path("loans", FIRST).read_bytes()
    delivery = take(folder)
    assert amounts(folder) == [200.0, 7.0]
    assert delivery.before is not None
    assert delivery.before.read_bytes() == first
    again = take(folder)
    assert again.unchanged
    assert again.before is None
    back = deliver(extracts_of(folder), source_of(folder), FIRST, delivery.before)
    assert amounts(folder) == [100.5, 7.0]
    assert back.before is not None
    assert back.before != delivery.before


def test_a_file_put_there_by_hand_is_kept_too(dropped: Path) -> None:
    folder = dropped.parent
    by_hand = extracts_of(folder).path("loans", FIRST)
    pl.read_parquet(by_hand).with_columns(pl.lit("1").alias("amount")).write_parquet(by_hand)
    assert amounts(folder) == [1.0, 1.0]
    delivery = handed_over(folder)
    assert delivery.before is not None
    assert pl.read_parquet(delivery.before)["amount"].to_list() == ["1", "1"]
    by_hand.write_bytes(b"damaged")
    delivery = deliver(extracts_of(folder), source_of(folder), FIRST, dropped)
    assert delivery.before is not None
    assert delivery.before.read_bytes() == b"damaged"
    assert amounts(folder) == [100.5, 7.0]


def test_what_is_of_no_use_changes_nothing(dropped: Path) -> None:
    folder = dropped.parent
    before = extracts_of(folder).path("loans", FIRST).read_bytes()
    (folder / "empty.csv").write_text("")
    (folder / "no.parquet").write_text("no table")
    for name, said in (
        ("empty.csv", "cannot be read"),
        ("no.parquet", "cannot be read"),
        ("none.csv", "cannot be read"),
    ):
        with pytest.raises(ExtractError, match=said):
            deliver(extracts_of(folder), source_of(folder), FIRST, folder / name)
    dropped.unlink()
    with pytest.raises(ExtractError, match="its origin holds nothing for 2025-03-01; nothing was changed"):
        pull(extracts_of(folder), source_of(folder), FIRST)
    assert extracts_of(folder).path("loans", FIRST).read_bytes() == before


def test_a_day_of_an_archive_can_be_cut_anew(tmp_path: Path) -> None:
    weather = flights_archive.catalog().sources["weather"]
    day = date(2013, 3, 5)
    extracts = Extracts(tmp_path)
    delivery = pull(extracts, weather, day)
    assert pl.read_parquet(delivery.extract).equals(flights_archive.extracts()["weather"].rows[day])
    with pytest.raises(ExtractError, match="holds nothing for 2013-12-31"):
        pull(extracts, weather, date(2013, 12, 31))


def test_a_corrected_file_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project = make_project(tmp_path / "shop", "shop_of_deliveries", TODAY)
    monkeypatch.setenv("ML_ASSETS_PROJECT", str(project))
    monkeypatch.delenv("ML_ASSETS_HOME")
    monkeypatch.syspath_prepend(str(project))
    file = project / "data" / f"orders_{YESTERDAY:%Y%m%d}.csv"
    assert main(["run", "events/orders", str(YESTERDAY)]) == 0
    table = str(project / ".ml_assets" / "lake" / "events" / "orders")
    rows = pl.read_delta(table).height
    lines = file.read_text().splitlines(keepends=True)
    (project / "corrected.csv").write_text("".join(lines[:-1]))
    assert main(["deliver", "orders", str(YESTERDAY), str(project / "corrected.csv")]) == 0
    assert f"ml-assets repair events/orders {YESTERDAY}" in capsys.readouterr().out
    assert main(["repair", "events/orders", str(YESTERDAY)]) == 0
    assert pl.read_delta(table).height == rows - 1
    assert main(["pull", "orders", str(YESTERDAY)]) == 0
    assert main(["repair", "events/orders", str(YESTERDAY)]) == 0
    assert pl.read_delta(table).height == rows
    assert main(["deliver", "odrers", str(YESTERDAY), str(file)]) == 1
    assert "unknown asset 'events/odrers'" in capsys.readouterr().err
