"""Training: the same fit everywhere, scores that survive storage, artefacts that execute nothing when read."""

import io
import json
import os
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, OrdinalEncoder
from skops.io import dumps

from ml_assets.catalog.models.disruption import MODEL
from ml_assets.domain.errors import ArtefactError
from ml_assets.domain.feature_types import MOST_CATEGORIES
from ml_assets.domain.specs import GradientBoosting
from ml_assets.domain.training import (
    Candidate,
    TrainingError,
    fit_candidate,
    fitted_on_all,
    libraries,
    load_pipeline,
    refitted,
    score,
)

SMALL = replace(
    MODEL,
    name="small",
    features=("sky.wind", "sky.rain", "fleet.airline", "fleet.age", "fleet.base"),
    categorical=("fleet.airline", "fleet.base"),
    estimator=GradientBoosting(
        learning_rate=0.2, max_iter=15, max_leaf_nodes=7, min_samples_leaf=10, l2_regularization=0.5
    ),
)
COLUMNS = SMALL.feature_columns


def rows(seed: int, number: int = 800) -> pl.DataFrame:
    """Rows in which the wind and the airline carry the label, with nulls in every column."""
    draw = np.random.default_rng(seed)
    wind = draw.normal(size=number)
    airline = draw.choice(["AA", "BB", "CC"], number)
    label = (wind + (airline == "AA") + draw.normal(scale=0.7, size=number) > 0.5).astype(np.int8)
    frame = pl.DataFrame(
        {
            "sky__wind": wind,
            "sky__rain": draw.normal(size=number),
            "fleet__airline": airline,
            "fleet__age": draw.normal(size=number),
            "fleet__base": draw.choice(["x", "y"], number),
        }
    )
    holes = draw.random((number, len(COLUMNS))) < 0.05
    return frame.with_columns(
        pl.when(pl.Series(~holes[:, place])).then(pl.col(column)).alias(column)
        for place, column in enumerate(frame.columns)
    ).with_columns(pl.Series("label", label))


@pytest.fixture(scope="module")
def candidate() -> Candidate:
    return fit_candidate(SMALL, rows(1), rows(2), seed=7)


def by_hand(frame: pl.DataFrame) -> Callable[[pl.DataFrame], np.ndarray]:
    """The same family put together here, fitted on a frame: what gives the scores of other rows."""
    words, numbers = ["fleet__airline", "fleet__base"], ["sky__wind", "sky__rain", "fleet__age"]
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan).fit(frame[words].to_pandas())
    chosen = SMALL.estimator
    boosting = HistGradientBoostingClassifier(
        learning_rate=chosen.learning_rate,
        max_iter=chosen.max_iter,
        max_leaf_nodes=chosen.max_leaf_nodes,
        min_samples_leaf=chosen.min_samples_leaf,
        l2_regularization=chosen.l2_regularization,
        categorical_features=[0, 1],
        early_stopping=False,
        random_state=7,
    )

    def matrix(of: pl.DataFrame) -> np.ndarray:
        return np.column_stack([encoder.transform(of[words].to_pandas()), of[numbers].to_numpy()])

    boosting.fit(matrix(frame), frame["label"].to_numpy())
    return lambda of: boosting.predict_proba(matrix(of))[:, 1]


def test_a_refit_is_the_judged_candidate_fitted_on_all_rows(candidate: Candidate) -> None:
    newcomer = rows(2).with_columns(pl.lit("DD").alias("fleet__airline"))
    whole = pl.concat([rows(1), newcomer])
    again = refitted(SMALL, whole, candidate, fitted_on_all(SMALL, whole, seed=7))
    asked = pl.concat([rows(3), newcomer.head(50)])
    np.testing.assert_array_equal(score(SMALL, again.artefact, asked), by_hand(whole)(asked))
    np.testing.assert_array_equal(score(SMALL, candidate.artefact, asked), by_hand(rows(1))(asked))
    assert not np.array_equal(score(SMALL, again.artefact, asked), score(SMALL, candidate.artefact, asked))
    # What it was never measured on says nothing of it: the judged one's measures stand.
    assert again.importances == candidate.importances
    np.testing.assert_array_equal(again.scores, candidate.scores)
    assert again.probe != candidate.probe
    with pytest.raises(TrainingError, match="label"):
        fitted_on_all(SMALL, whole.with_columns(pl.lit(1).alias("label")), seed=7)


@pytest.mark.parametrize("number", [MOST_CATEGORIES, MOST_CATEGORIES + 1])
def test_more_categories_than_the_family_takes_are_refused_by_name(number):
    """It used to be an error of scikit-learn's about a feature by its index."""
    airlines = [f"a{place % number}" if place % number else None for place in range(3 * number)]
    many = rows(1, 3 * number).with_columns(pl.Series("fleet__airline", airlines))
    if number <= MOST_CATEGORIES:
        assert fit_candidate(SMALL, many, rows(2), seed=7).scores.size
        return
    with pytest.raises(TrainingError, match=f"fleet__airline has {number} categories, an absent value being one"):
        fit_candidate(SMALL, many, rows(2), seed=7)


# --- the same fit -----------------------------------------------------------------------------------------


def told(fitted: Candidate) -> dict:
    return {"probe": fitted.probe, "scores": fitted.scores.tolist(), "importances": dict(fitted.importances)}


def test_the_same_rows_and_seed_give_the_same_model(candidate):
    again = fit_candidate(SMALL, rows(1), rows(2), seed=7)
    assert told(again) == told(candidate)


def test_the_probe_notices_another_seed_other_rows_and_other_parameters(candidate):
    shifted = replace(SMALL, estimator=replace(SMALL.estimator, max_iter=14))
    others = [fit_candidate(SMALL, rows(3), rows(2), seed=7), fit_candidate(shifted, rows(1), rows(2), seed=7)]
    assert len({candidate.probe, *(other.probe for other in others)}) == 3


def test_another_process_with_another_hash_seed_gives_the_same_model(candidate):
    fit = "t.fit_candidate(t.SMALL, t.rows(1), t.rows(2), seed=7)"
    code = f"import json, test_training as t; print(json.dumps(t.told({fit})))"
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])])
    environment = {**os.environ, "PYTHONHASHSEED": "4321", "PYTHONPATH": path, "OMP_NUM_THREADS": "2"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert json.loads(done.stdout) == told(candidate)


def test_importances_are_shares_of_every_feature_and_name_the_columns_that_carry_the_label(candidate):
    assert set(candidate.importances) == set(COLUMNS)
    assert sum(candidate.importances.values()) == pytest.approx(1.0)
    assert min(candidate.importances.values()) >= 0
    two_best = sorted(COLUMNS, key=lambda column: candidate.importances[column])[-2:]
    assert set(two_best) == {"sky__wind", "fleet__airline"}


def test_neither_frame_is_changed():
    train, held_out = rows(1), rows(2)
    fit_candidate(SMALL, train, held_out, seed=7)
    assert train.equals(rows(1))
    assert held_out.equals(rows(2))


def test_the_libraries_that_shape_a_pipeline_are_on_record():
    assert {"numpy", "polars", "scikit-learn", "skops"} <= set(libraries())


# --- scoring ----------------------------------------------------------------------------------------------


def test_scores_survive_storage_exactly(candidate):
    assert score(SMALL, candidate.artefact, rows(2)).tolist() == candidate.scores.tolist()
    assert np.all((candidate.scores > 0) & (candidate.scores < 1))


def test_scores_of_rows_do_not_depend_on_their_company(candidate):
    """Whatever is fitted was fitted in training: a row scored alone scores the same."""
    held_out = rows(2)
    alone = [score(SMALL, candidate.artefact, held_out[place : place + 1])[0] for place in range(20)]
    assert alone == candidate.scores[:20].tolist()


def test_the_order_of_columns_and_columns_beside_them_change_nothing(candidate):
    mixed = rows(2).select("label", *COLUMNS[::-1]).with_columns(stranger=pl.lit("?"))
    assert score(SMALL, candidate.artefact, mixed).tolist() == candidate.scores.tolist()


def test_all_unseen_categories_score_alike_and_like_nobody_seen(candidate):
    unseen, other = (
        score(SMALL, candidate.artefact, rows(2).with_columns(fleet__airline=pl.lit(name))) for name in ("ZZ", "!")
    )
    assert unseen.tolist() == other.tolist()
    assert np.all((unseen > 0) & (unseen < 1))
    for seen in ("AA", "BB", "CC"):
        as_seen = score(SMALL, candidate.artefact, rows(2).with_columns(fleet__airline=pl.lit(seen)))
        assert as_seen.tolist() != unseen.tolist()


def test_a_null_that_training_never_saw_scores_like_an_unseen_category():
    train = rows(1).with_columns(pl.col("fleet__airline").fill_null("AA"))
    fitted = fit_candidate(SMALL, train, rows(2), seed=7)
    unseen, null = (
        score(SMALL, fitted.artefact, rows(2).with_columns(fleet__airline=pl.lit(name, pl.String)))
        for name in ("ZZ", None)
    )
    assert unseen.tolist() == null.tolist()


def test_a_row_of_nulls_and_no_rows_at_all_can_be_scored(candidate):
    nulls = rows(2)[:3].with_columns(pl.lit(None, rows(2).schema[column]).alias(column) for column in COLUMNS)
    scores = score(SMALL, candidate.artefact, nulls)
    assert len(set(scores.tolist())) == 1
    assert 0 < scores[0] < 1
    assert score(SMALL, candidate.artefact, nulls.clear()).tolist() == []


@pytest.mark.parametrize("empty", [pl.lit(None, pl.Float64), pl.lit(float("nan"))])
def test_a_number_without_a_value_in_training_is_left_out_and_has_no_importance(empty):
    fitted = fit_candidate(SMALL, rows(1).with_columns(fleet__age=empty), rows(2), seed=7)
    assert fitted.importances["fleet__age"] == 0.0
    assert sum(fitted.importances.values()) == pytest.approx(1.0)
    other = rows(2).with_columns(fleet__age=pl.lit(5.0))
    assert score(SMALL, fitted.artefact, other).tolist() == fitted.scores.tolist()


def test_a_category_without_a_value_in_training_is_left_out_too():
    train = rows(1).with_columns(fleet__base=pl.lit(None, pl.String))
    fitted = fit_candidate(SMALL, train, rows(2), seed=7)
    assert fitted.importances["fleet__base"] == 0.0
    assert fitted.importances["sky__wind"] > 0.3


@pytest.mark.parametrize("kept", [("sky.wind", "fleet.age"), ("fleet.airline", "fleet.base")])
def test_a_model_of_numbers_only_and_of_categories_only_can_be_fitted(kept):
    model = replace(SMALL, features=kept, categorical=tuple(name for name in SMALL.categorical if name in kept))
    fitted = fit_candidate(model, rows(1), rows(2), seed=7)
    assert score(model, fitted.artefact, rows(2)).tolist() == fitted.scores.tolist()


# --- what cannot be fitted or scored ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("train", "held_out", "message"),
    [
        (rows(1).drop("sky__rain"), rows(2), r"'small', train rows: they lack \['sky__rain'\]"),
        (rows(1), rows(2).drop("label"), r"'small', held out rows: they lack \['label'\]"),
        (rows(1).clear(), rows(2), r"train rows: the labels of 0 rows are \[\], wanted both 0 and 1"),
        (rows(1), rows(2).clear(), r"held out rows: the labels of 0 rows are \[\], wanted both 0 and 1"),
        (rows(1).with_columns(label=pl.lit(1)), rows(2), r"train rows: the labels of 800 rows are \[1\]"),
        (rows(1), rows(2).with_columns(label=pl.lit(0)), r"held out rows: the labels of 800 rows are \[0\]"),
        (rows(1).with_columns(label=pl.lit(None, pl.Int8)), rows(2), r"train rows: the labels .* are \[None\]"),
    ],
)
def test_rows_that_no_model_can_be_fitted_on_are_a_clear_error(train, held_out, message):
    with pytest.raises(TrainingError, match=message):
        fit_candidate(SMALL, train, held_out, seed=7)


def test_features_without_any_value_are_a_clear_error():
    train = rows(1).with_columns(pl.lit(None, rows(1).schema[column]).alias(column) for column in COLUMNS)
    with pytest.raises(TrainingError, match="none of its features has a value in the 800 train rows"):
        fit_candidate(SMALL, train, rows(2), seed=7)


def test_rows_that_lack_a_feature_are_named(candidate):
    with pytest.raises(ArtefactError, match=r"rows to be scored by model 'small' lack \['sky__rain'\]"):
        score(SMALL, candidate.artefact, rows(2).drop("sky__rain"))


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (("sky.wind", "sky.rain", "fleet.airline", "fleet.age"), r"only the pipeline has \['fleet__base'\]"),
        ((*SMALL.features, "sky.haze"), r"only the model has \['sky__haze'\]"),
    ],
)
def test_a_pipeline_of_other_features_is_refused(candidate, features, message):
    model = replace(SMALL, features=features, categorical=("fleet.airline",))
    with pytest.raises(ArtefactError, match=message):
        score(model, candidate.artefact, rows(2).with_columns(sky__haze=pl.lit(1.0)))


# --- artefacts that cannot be trusted ---------------------------------------------------------------------


class Reduces:
    """What a pickle uses to execute: a call that rebuilding the object makes."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return os.system, (f"touch {self.marker}",)


class Touches:
    """A type of our own: harmless to build, not on the list, and it acts when its state is set."""

    def __setstate__(self, state: dict) -> None:
        Path(state["marker"]).touch()


def touches(marker: Path) -> Touches:
    stranger = Touches()
    stranger.marker = str(marker)
    return stranger


def packed(content: dict, **files: bytes) -> bytes:
    """A skops file with a schema written by hand, as an attacker would."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("schema.json", json.dumps({**content, "protocol": 2, "_skops_version": "0.16.0"}))
        for name, data in files.items():
            archive.writestr(name, data)
    return file.getvalue()


def text(value: str, number: int) -> dict:
    return {
        "__class__": "str",
        "__module__": "builtins",
        "__loader__": "JsonNode",
        "content": json.dumps(value),
        "is_json": True,
        "__id__": number,
    }


def listed(kind: str, items: list[dict], number: int) -> dict:
    return {
        "__class__": kind,
        "__module__": "builtins",
        "__loader__": f"{kind.title()}Node",
        "content": items,
        "__id__": number,
    }


def calls(module: str, name: str, marker: Path, loader: str) -> bytes:
    """A node that says: build me by calling `module.name("touch marker")`."""
    command = f"touch {marker}"
    return packed(
        {
            "__class__": name,
            "__module__": module,
            "__loader__": loader,
            "__id__": 1,
            "__reduce__": {"args": listed("tuple", [text(command, 3)], 2)},
            "attrs": listed("tuple", [text(command, 5)], 4),
            "content": {
                "__class__": "dict",
                "__module__": "builtins",
                "__loader__": "DictNode",
                "content": {},
                "key_types": listed("list", [], 7),
                "__id__": 6,
            },
        }
    )


MALICIOUS: dict[str, Callable[[Path, bytes], bytes]] = {
    "a pickle that calls the shell": lambda marker, _: pickle.dumps(Reduces(marker)),
    "the shell as a step of a pipeline": lambda marker, _: dumps(
        Pipeline([("step", FunctionTransformer(func=partial(os.system, f"touch {marker}")))])
    ),
    "an object of a type not on the list": lambda marker, _: dumps(Pipeline([("step", touches(marker))])),
    "an object that acts when its state is set": lambda marker, _: dumps(touches(marker)),
    "a hand-written object node": lambda marker, _: calls("os", "system", marker, "ObjectNode"),
    "a hand-written constructor": lambda marker, _: calls("os", "system", marker, "ConstructorFromReduceNode"),
    "a hand-written tree": lambda marker, _: calls("posix", "system", marker, "TreeNode"),
    "a hand-written loss": lambda marker, _: calls("os", "system", marker, "LossNode"),
    "a hand-written type": lambda marker, _: calls("os", "system", marker, "TypeNode"),
    "a hand-written operator": lambda marker, _: calls("operator", "methodcaller", marker, "OperatorFuncNode"),
    "a loader nobody knows": lambda marker, _: calls("os", "system", marker, "EvalNode"),
    "a pickle inside an array": lambda marker, artefact: with_pickled_arrays(artefact, marker),
}
UNREADABLE: dict[str, Callable[[bytes], bytes]] = {
    "half of the bytes": lambda artefact: artefact[: len(artefact) // 2],
    "all but the last bytes": lambda artefact: artefact[:-20],
    "no bytes": lambda _: b"",
    "other bytes": lambda _: b"not a model",
    "one bit turned": lambda artefact: turned(artefact, len(artefact) // 2),
    "a zip without a schema": lambda _: empty_zip(),
    "a schema that is no JSON": lambda _: packed_text("{"),
    "a schema that is a list": lambda _: packed_text("[]"),
}


def with_pickled_arrays(artefact: bytes, marker: Path) -> bytes:
    """The artefact with its arrays replaced by one whose elements are pickled."""
    evil = io.BytesIO()
    np.save(evil, np.array([Reduces(marker)], dtype=object), allow_pickle=True)
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(artefact)) as old, zipfile.ZipFile(file, "w") as new:
        arrays = [name for name in old.namelist() if name.endswith(".npy")]
        assert arrays
        for name in old.namelist():
            new.writestr(name, evil.getvalue() if name in arrays else old.read(name))
    return file.getvalue()


def turned(artefact: bytes, place: int) -> bytes:
    return artefact[:place] + bytes([artefact[place] ^ 1]) + artefact[place + 1 :]


def empty_zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w"):
        pass
    return file.getvalue()


def packed_text(schema: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("schema.json", schema)
    return file.getvalue()


@pytest.mark.parametrize("name", list(MALICIOUS))
def test_a_malicious_artefact_is_refused_and_executes_nothing(name, candidate, tmp_path):
    marker = tmp_path / "executed"
    artefact = MALICIOUS[name](marker, candidate.artefact)
    assert not marker.exists()
    with pytest.raises(ArtefactError):
        load_pipeline(artefact)
    with pytest.raises(ArtefactError):
        score(SMALL, artefact, rows(2))
    assert not marker.exists()


def test_the_markers_would_be_seen(tmp_path):
    """The same pickle and the same object, read by something that trusts them."""
    by_pickle, by_state = tmp_path / "pickle", tmp_path / "state"
    pickle.loads(pickle.dumps(Reduces(by_pickle)))
    pickle.loads(pickle.dumps(touches(by_state)))
    assert by_pickle.exists()
    assert by_state.exists()


@pytest.mark.parametrize("name", list(UNREADABLE))
def test_bytes_that_are_no_artefact_are_refused_with_what_to_do(name, candidate):
    with pytest.raises(ArtefactError, match="Train the model of its day anew") as raised:
        load_pipeline(UNREADABLE[name](candidate.artefact))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("stored", [{"a": 1}, [1, 2], FunctionTransformer()])
def test_a_harmless_object_that_is_no_pipeline_is_refused(stored):
    with pytest.raises(ArtefactError, match=f"holds a {type(stored).__name__}, wanted a Pipeline"):
        load_pipeline(dumps(stored))


def test_a_stranger_is_named(candidate, tmp_path):
    with pytest.raises(ArtefactError, match=r"Touches'\], which are not on the allow-list; it was not loaded"):
        load_pipeline(dumps(touches(tmp_path / "executed")))
