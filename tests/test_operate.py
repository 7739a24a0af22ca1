"""A live week under a simulated clock: outages, late and corrected files end in the lake of an undisturbed replay."""

import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from dagster import build_sensor_context
from hypothesis import given
from hypothesis import strategies as st
from live_shop import A_DAY, END, PACKAGE, TRAINED, OnRecord, at, at_work
from short_year import Platform, quiet
from toy import CALENDAR, loans

from ml_assets.domain.due import due_end
from ml_assets.domain.origins import DropFolder
from ml_assets.operate import Operated, operate
from ml_assets.replay import Replay
from partitions import DayRange
from partitions.days import midnight
from resources.deliveries import deliver
from resources.extracts import Extracts
from resources.handles import LakeHandle
from resources.run_tags import DAYS, ONLY_STALE, RANGE_END, RANGE_START
from sensors.due import SENSOR

# --- which days are due ----------------------------------------------------------------------------------


@given(
    st.datetimes(datetime.fromisoformat("2025-03-10"), datetime.fromisoformat("2025-05-20")),
    st.lists(st.integers(0, 72), min_size=1, max_size=3),
)
def test_a_day_is_due_once_it_is_over_and_every_source_has_had_its_time(moment: datetime, hours: list[int]) -> None:
    now = moment.replace(tzinfo=UTC)
    sources = [
        loans(DropFolder("{day}.csv"), name=f"s{index}", delivered_within=timedelta(hours=each))
        for index, each in enumerate(hours)
    ]
    end = due_end(CALENDAR, sources, now)
    for day in (end - A_DAY, end, end + A_DAY):
        over = [midnight(day + A_DAY, CALENDAR.timezone) + source.delivered_within for source in sources]
        assert (day < end) == all(at <= now for at in over), day


def test_sources_of_other_calendars_delay_nothing() -> None:
    assert due_end(CALENDAR, [], datetime(2025, 3, 29, 23, 30, tzinfo=UTC)) == date(2025, 3, 30)
    assert due_end(CALENDAR, [], datetime(2025, 3, 30, 21, 59, tzinfo=UTC)) == date(2025, 3, 30)
    assert due_end(CALENDAR, [], datetime(2025, 3, 30, 22, 0, tzinfo=UTC)) == date(2025, 3, 31)


# --- a week ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def undisturbed(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> OnRecord:
    """What a replay makes that had every file from the start."""
    project = tmp_path_factory.mktemp("undisturbed") / "shop"
    shutil.copytree(shop, project)
    with at_work(project) as platform:
        Replay(platform.launcher, quiet, {PACKAGE: END}).run()
        return platform.on_record()


def test_a_week_with_an_outage_a_late_file_and_a_correction(shop: Path, tmp_path: Path, undisturbed: OnRecord) -> None:
    project = tmp_path / "shop"
    shutil.copytree(shop, project)
    late, wrong = TRAINED + A_DAY, TRAINED + 2 * A_DAY
    file = project / "data" / f"orders_{late:%Y%m%d}.csv"
    held_back = file.rename(project / "held_back.csv")
    right = (project / "data" / f"orders_{wrong:%Y%m%d}.csv").read_text()
    (project / "data" / f"orders_{wrong:%Y%m%d}.csv").write_text(right.replace("books", "shoes"))
    said: list[str] = []

    def day_begins(day: date) -> Operated:
        with at_work(project) as platform:
            return operate(platform.launcher, at(day), said.append)

    assert day_begins(TRAINED + A_DAY) == Operated({PACKAGE: TRAINED + A_DAY}, ())
    # Nobody was there for two days; meanwhile one file has not come.
    assert day_begins(TRAINED + 3 * A_DAY).late == (("orders", late),)
    with at_work(project) as platform:
        assert "nothing was delivered" in platform.lake.refused("events/orders", late, late + A_DAY)[late]
        assert platform.lake.read("events/orders", wrong, wrong + A_DAY).filled
    held_back.rename(file)
    with at_work(project) as platform:
        corrected = project / "corrected.csv"
        corrected.write_text(right)
        source = platform.launcher.catalog.sources["orders"]
        deliver(Extracts(platform.launcher.home.extracts), source, wrong, corrected)
        platform.repair(["events/orders"], wrong)
    assert day_begins(END).late == ()
    assert f"orders of {late} was delivered late" in said
    with at_work(project) as platform:
        live = platform.on_record()
        assert {table for table in live if live[table] != undisturbed[table]} == set()
        before = platform.files()
        assert operate(platform.launcher, at(END), said.append) == Operated({PACKAGE: END}, ())
        assert platform.files() == before, "a pass with nothing due wrote something"


# --- in the daemon ---------------------------------------------------------------------------------------


def test_the_sensor_asks_for_what_is_due_run_by_run(
    shop: Path,
    tmp_path: Path,
    undisturbed: OnRecord,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its runs, carried out one after another as the daemon would, end where a replay does; then it asks for none."""
    project = tmp_path / "shop"
    shutil.copytree(shop, project)
    late = TRAINED + A_DAY
    file = project / "data" / f"orders_{late:%Y%m%d}.csv"
    held_back = file.rename(project / "held_back.csv")
    monkeypatch.setattr("sensors.due.clock", lambda: at(END))
    with at_work(project) as platform:
        assert "nothing was delivered" not in str(carried_out(platform))
        assert set(platform.lake.refused("events/orders", late, late + A_DAY)) == {late}
        held_back.rename(file)
        (asked,) = carried_out(platform)
        assert asked == (("events/orders",), str(late))
        platform.repair()
        assert carried_out(platform) == []
        live = platform.on_record()
        assert {table for table in live if live[table] != undisturbed[table]} == set()


def carried_out(platform: Platform) -> list[tuple[tuple[str, ...], str]]:
    """The runs that the sensor asks for until it asks for none, each carried out when asked for: tables and days."""
    repository = platform.launcher.defs.get_repository_def()
    found = repository.get_sensor_def(SENSOR)
    resources = {"lake": LakeHandle(home=str(platform.path))}
    done: list[tuple[tuple[str, ...], str]] = []
    cursor = None
    while True:
        with build_sensor_context(
            instance=platform.instance, cursor=cursor, resources=resources, repository_def=repository
        ) as context:
            result = found.evaluate_tick(context)
        cursor = result.cursor or cursor
        if not result.run_requests:
            return done
        for request in result.run_requests:
            tables = tuple("/".join(key.path) for key in request.asset_selection or ())
            first, last = date.fromisoformat(request.tags[RANGE_START]), date.fromisoformat(request.tags[RANGE_END])
            only_stale = ONLY_STALE in request.tags
            platform.launcher.run(tables, DayRange(first, last + A_DAY), only_stale=only_stale)
            done.append((tables, request.tags[DAYS]))
        assert len(done) < 30
