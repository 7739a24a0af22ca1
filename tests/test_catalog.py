"""The catalogue: what is declared is found, and every wrong name is one clear sentence with the remedy."""

import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from importlib import import_module
from pathlib import Path

import flights_archive
import pytest

from ml_assets.begin import make_project
from ml_assets.catalog import build_catalog, load_catalog
from ml_assets.catalog.models.disruption import MODEL
from ml_assets.domain.errors import CatalogError
from ml_assets.domain.specs import Catalog, ModelSpec

GROUPS = ("carrier_delays", "inbound_aircraft", "origin_delays", "route_delays", "schedule", "weather")


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return flights_archive.catalog()


def rebuilt(catalog: Catalog, **changed: list) -> Catalog:
    """The catalogue built anew, with some of its kinds given as `(where, spec)` pairs."""
    declared = {
        kind: [(f"catalog/{kind}/{name}.py", spec) for name, spec in getattr(catalog, kind).items()]
        for kind in ("sources", "features", "outcomes", "models")
    }
    return build_catalog(**{**declared, **changed})


def with_model(catalog: Catalog, **changes: object) -> Callable[[], Catalog]:
    return lambda: rebuilt(catalog, models=[("catalog/models/disruption.py", replace(MODEL, **changes))])


def message_of(build: Callable[[], object]) -> str:
    with pytest.raises(CatalogError) as raised:
        build()
    message = str(raised.value)
    assert "\n" not in message
    assert message.endswith((".", "?"))
    return message


# --- discovery --------------------------------------------------------------------------------------------


def test_everything_declared_is_found():
    catalog = load_catalog()
    assert tuple(catalog.sources) == ("flights", "purchases", "weather")
    assert set(catalog.features) == {*GROUPS, "purchase", "customer_history"}
    assert tuple(catalog.outcomes) == ("buys_again", "disrupted")
    assert tuple(catalog.models) == ("disruption", "repurchase")


def test_every_file_of_the_catalogue_is_reflected():
    catalog = load_catalog()
    folder = Path(import_module("ml_assets.catalog").__file__).parent
    for kind in ("sources", "features", "outcomes", "models"):
        files = {path.stem for path in (folder / kind).glob("*.py")} - {"__init__"}
        spec_type = type(next(iter(getattr(catalog, kind).values())))
        found = vars(import_module("ml_assets.catalog"))["_declared"]("ml_assets.catalog", kind, spec_type)
        assert {where.rsplit(".", 1)[1] for where, _ in found} == files


def test_descriptions_come_from_the_files():
    catalog = load_catalog()
    for kind in ("sources", "features", "outcomes", "models"):
        for spec in getattr(catalog, kind).values():
            assert len(spec.description) > 20


def test_a_model_reads_its_spine_first(catalog):
    assert next(iter(catalog.groups_of(MODEL))) == "schedule"
    assert set(catalog.groups_of(MODEL)) == set(GROUPS)


def test_feature_columns_keep_their_order_and_split_by_kind():
    assert MODEL.feature_columns == tuple(feature.replace(".", "__") for feature in MODEL.features)
    assert set(MODEL.categorical_columns) | set(MODEL.numeric_columns) == set(MODEL.feature_columns)
    assert not set(MODEL.categorical_columns) & set(MODEL.numeric_columns)


# --- a folder with one file more --------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Iterator[Callable[[str, str, str], None]]:
    """Adds a file to one of the catalogue's folders, for this test only."""

    def add(kind: str, name: str, text: str) -> None:
        package = import_module(f"ml_assets.catalog.{kind}")
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
        (tmp_path / f"{name}.py").write_text(text)
        added.append((package, name))

    added: list = []
    yield add
    for package, name in added:
        sys.modules.pop(f"{package.__name__}.{name}", None)
        vars(package).pop(name, None)


NEW_GROUP = """
from dataclasses import replace
from ml_assets.catalog.features import weather
FEATURES = replace(weather.FEATURES, name={name!r})
"""


def test_a_new_file_is_found_without_registering(folder):
    folder("features", "humidity", NEW_GROUP.format(name="humidity"))
    assert set(load_catalog().features) == {*GROUPS, "purchase", "customer_history", "humidity"}


def test_two_files_with_one_name_are_both_named(folder):
    folder("features", "weather_again", NEW_GROUP.format(name="weather"))
    message = message_of(load_catalog)
    assert "'weather'" in message
    assert "ml_assets.catalog.features.weather " in message
    assert "ml_assets.catalog.features.weather_again" in message


def test_a_file_without_a_declaration_is_named_with_what_it_lacks(folder):
    folder("outcomes", "forgotten", "from ml_assets.catalog.outcomes.disrupted import compute\n")
    message = message_of(load_catalog)
    assert "ml_assets.catalog.outcomes.forgotten" in message
    assert "OutcomeSpec" in message


def test_a_declaration_of_another_kind_does_not_count(folder):
    folder("outcomes", "misplaced", "from ml_assets.catalog.features.weather import FEATURES\n")
    assert "ml_assets.catalog.outcomes.misplaced declares no OutcomeSpec" in message_of(load_catalog)


@pytest.mark.parametrize("name", ["rain-fall", "rain fall", "", "1rain", "a/b"])
def test_a_name_that_is_no_identifier_is_refused(folder, name):
    folder("features", "rain", NEW_GROUP.format(name=name))
    message = message_of(load_catalog)
    assert repr(name) in message
    assert "ml_assets.catalog.features.rain" in message


# --- names that nobody declared ---------------------------------------------------------------------------


def test_an_unknown_source_of_a_feature_group(catalog):
    group = replace(catalog.features["weather"], inputs=("wether",))
    message = message_of(lambda: rebuilt(catalog, features=[("catalog/features/weather.py", group)], models=[]))
    assert message == (
        "feature group 'weather': unknown source 'wether'; known are flights, weather. Did you mean 'weather'?"
    )


def test_an_unknown_source_of_an_outcome(catalog):
    outcome = replace(catalog.outcomes["disrupted"], source="flight")
    message = message_of(lambda: rebuilt(catalog, outcomes=[("catalog/outcomes/disrupted.py", outcome)]))
    assert message == (
        "outcome 'disrupted': unknown source 'flight'; known are flights, weather. Did you mean 'flights'?"
    )


def test_an_unknown_outcome_of_a_model(catalog):
    message = message_of(with_model(catalog, outcome="disruptd"))
    assert message == ("model 'disruption': unknown outcome 'disruptd'; known are disrupted. Did you mean 'disrupted'?")


@pytest.mark.parametrize("changes", [{"spine": "schedul"}, {"features": ("schedul.carrier",), "categorical": ()}])
def test_an_unknown_feature_group_of_a_model(catalog, changes):
    message = message_of(with_model(catalog, **changes))
    assert message == (
        f"model 'disruption': unknown feature group 'schedul'; known are {', '.join(GROUPS)}. Did you mean 'schedule'?"
    )


@pytest.mark.parametrize("feature", ["weather.tempp", "weather", "weather.", "weather.temp.mean"])
def test_an_unknown_feature_of_a_group(catalog, feature):
    message = message_of(with_model(catalog, features=(feature,), categorical=()))
    assert message.startswith(f"model 'disruption', group 'weather': unknown feature {feature[8:]!r}; known are dewp, ")
    assert ("Did you mean 'temp'?" in message) == feature.startswith("weather.temp")


def test_a_name_like_nothing_known_gets_no_guess(catalog):
    message = message_of(with_model(catalog, outcome="xyzzy"))
    assert message == "model 'disruption': unknown outcome 'xyzzy'; known are disrupted."


def test_a_spine_that_has_not_one_row_an_event_is_refused(catalog):
    message = message_of(with_model(catalog, spine="weather"))
    assert "its spine 'weather' has the entity ('origin',), wanted ('row_key',)" in message


def test_an_entity_key_that_the_spine_lacks_is_refused(catalog):
    carriers = catalog.features["carrier_delays"]
    pilots = replace(
        carriers,
        name="pilots",
        entity=("pilot",),
        compute=lambda events: carriers.compute(events).rename({"carrier": "pilot"}),
    )
    features = [(f"catalog/features/{name}.py", spec) for name, spec in {**catalog.features, "pilots": pilots}.items()]
    model = replace(MODEL, features=("pilots.landed",), categorical=())
    message = message_of(lambda: rebuilt(catalog, features=features, models=[("catalog/models/disruption.py", model)]))
    assert message.startswith(
        "model 'disruption', entity of group 'pilots': unknown spine column 'pilot'; known are block_minutes, carrier,"
    )


def test_two_models_with_one_name_are_both_named(catalog):
    models = [("catalog/models/a.py", MODEL), ("catalog/models/b.py", MODEL)]
    message = message_of(lambda: rebuilt(catalog, models=models))
    assert "catalog/models/a.py" in message
    assert "catalog/models/b.py" in message


# --- limits that contradict each other --------------------------------------------------------------------


def test_a_cool_down_shorter_than_a_day_is_refused_and_one_shorter_than_the_slices_is_not():
    assert "model 'disruption': cool_down_days is 0, wanted 1 or more" in message_of(
        lambda: replace(MODEL, cool_down_days=0)
    )
    assert replace(MODEL, cool_down_days=7, held_out_days=30, gate_days=60).cool_down_days == 7


def test_a_categorical_that_is_no_feature_is_refused():
    message = message_of(lambda: replace(MODEL, categorical=("schedule.carrier", "schedule.tailnum")))
    assert message.startswith(
        "model 'disruption': categorical names ['schedule.tailnum'], which are not among its features ["
    )


@pytest.mark.parametrize("name", ["known_before", "known_after", "max_age"])
def test_a_negative_time_is_refused(catalog, name):
    said = message_of(lambda: replace(catalog.features["weather"], **{name: timedelta(hours=-1)}))
    assert f"feature group 'weather': {name} is -1 day, 23:00:00, wanted a time of 0 or more." in said


def test_a_row_is_about_some_time_and_has_no_age_beside_it(catalog):
    schedule, hour = catalog.features["schedule"], timedelta(hours=1)
    assert "valid_for is 0:00:00, wanted more than 0" in message_of(lambda: replace(schedule, valid_for=timedelta(0)))
    for age in (hour, timedelta(days=1)):
        said = message_of(lambda age=age: replace(schedule, valid_for=hour, max_age=age))
        assert "it has a valid_for and a max_age, wanted one of them" in said
    assert replace(schedule, valid_for=hour).valid_for == hour
    assert not replace(schedule, valid_for=hour, max_age=None).carries_over


def test_a_spine_without_limit_of_age_is_refused(catalog):
    ageless = replace(catalog.features["schedule"], max_age=None)
    groups = [("here", ageless if name == "schedule" else spec) for name, spec in catalog.features.items()]
    said = message_of(lambda: rebuilt(catalog, features=groups))
    assert "its spine 'schedule' has no max_age, so its days would hold the events of all days before" in said


def test_a_negative_look_back_is_refused(catalog):
    assert "look_back_days is -1, wanted 0 or more" in message_of(
        lambda: replace(catalog.features["weather"], look_back_days=-1)
    )


def test_a_feature_listed_twice_is_refused():
    message = message_of(lambda: replace(MODEL, features=(*MODEL.features, "weather.temp")))
    assert message.startswith("model 'disruption': features names ['weather.temp'] more than once")


# --- what a declaration costs -----------------------------------------------------------------------------


def test_the_catalogue_loads_without_heavy_libraries():
    heavy = ("torch", "mlflow", "sklearn", "skops", "dagster")
    code = f"import sys, ml_assets.catalog as c; c.load_catalog(); print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_specs_are_frozen(catalog):
    with pytest.raises(AttributeError):
        catalog.models["disruption"].train_days = 3  # type: ignore[misc]
    assert isinstance(catalog.models["disruption"], ModelSpec)


@pytest.mark.parametrize(
    ("was", "now", "said"),
    [
        ("min_rows=10,", "min_rows=10, delivered_withn=6,", "SourceSpec: .*'delivered_withn'.*delivered_within"),
        ("min_rows=10,", "min_rows='10',", "source 'orders': min_rows is '10', wanted a number of 0 or more"),
        ('origin=DropFolder("', 'origin=DropFolder(seperator=";", pattern="', "DropFolder: .*'seperator'.*separator"),
        (
            'keys=("row_key",),',
            "",
            r"SourceSpec: missing 1 required keyword-only argument: 'keys'; mend the declaration",
        ),
    ],
    ids=["an unknown field", "a wrong type", "of an origin", "a missing one"],
)
def test_a_field_that_is_unknown_or_of_a_wrong_type_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, was: str, now: str, said: str
) -> None:
    package = f"shop_with_a_field_{zlib.crc32(said.encode())}"
    project = make_project(tmp_path / "shop", package)
    file = project / package / "sources" / "orders.py"
    text = file.read_text()
    assert was in text
    file.write_text(text.replace(was, now))
    monkeypatch.syspath_prepend(str(project))
    with pytest.raises(CatalogError, match=said):
        load_catalog(package)
