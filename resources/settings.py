"""The only reader of the environment, and the only writer of what other tools read from it.

What belongs here: where the home is, thread counts, telemetry switches, which warnings are not for users.
What does not: decisions, directories being made (`home.py`).
"""

import os
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from ml_assets.domain.errors import HomeError

HOME_VARIABLE = "ML_ASSETS_HOME"
LAKE_VARIABLE = "ML_ASSETS_LAKE"
AZURE_SCHEMES = frozenset({"abfs", "abfss", "wasb", "wasbs"})
STORAGE_OPTION_PREFIX = "ML_ASSETS_STORAGE_"
# Words of the names of variables: with one of the first a value is a secret, with one of the second it is none.
SECRET_WORDS = frozenset({"KEY", "SECRET", "TOKEN", "PASSWORD", "SAS", "CREDENTIAL", "CREDENTIALS", "SIGNATURE"})
HARMLESS_WORDS = frozenset(
    {"REGION", "ENDPOINT", "URL", "BUCKET", "ALLOW", "TIMEOUT", "RETRIES", "STYLE", "CONDITIONAL", "NAME", "ENABLE"}
)
CLOUDS = ("AWS_", "AZURE_", "GOOGLE_", "MINIO_", "MLFLOW_TRACKING_")
SHORTEST_SECRET = 6
# What other tools must find in the environment before they are imported: no telemetry, no surprises.
PROCESS_ENVIRONMENT = {
    "DAGSTER_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_DISABLE_ENV_CREATION": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "SQLALCHEMY_SILENCE_UBER_WARNING": "1",
    # OpenMP's threads wait by spinning unless told otherwise: on a busy machine two took ten times as long as one.
    "OMP_WAIT_POLICY": "PASSIVE",
}
# Beginnings of warnings that a user of the platform can do nothing about: hundreds of lines at every command.
DEVELOPERS_NOTES = (r".*is currently in (beta|preview)", "Asset job retrain_.* materializes assets with varying")


def home_path() -> Path:
    """The home directory: `$ML_ASSETS_HOME`, or `.ml_assets` in the checkout."""
    chosen = os.environ.get(HOME_VARIABLE)
    return Path(chosen).expanduser().resolve() if chosen else checkout() / ".ml_assets"


def checkout() -> Path:
    """The folder that holds `workspace.yaml` and the packages."""
    return Path(__file__).resolve().parent.parent


def lake_root(home: Path) -> str:
    """Where the lake lies: `$ML_ASSETS_LAKE` (an object store's URI), or `lake` in the home.

    Raises HomeError for a URI with credentials in it: it stands in messages, logs and the summary.
    """
    chosen = os.environ.get(LAKE_VARIABLE)
    if not chosen:
        return str(home / "lake")
    if "://" in chosen:
        parts = urlsplit(chosen)
        # In Azure's URIs the container stands where others have a user.
        user = None if parts.scheme in AZURE_SCHEMES else parts.username
        if user or parts.password or parts.query:
            raise HomeError(
                f"{LAKE_VARIABLE} holds credentials (a user, a password or a query in the URI), which would be shown "
                f"in messages and logs. Give <scheme>://<bucket>/<path> alone, and the credentials as "
                f"{STORAGE_OPTION_PREFIX}<OPTION>."
            )
    return chosen


def marks_folder(root: str) -> Path:
    """Where the last commits of the lake at `root` are recorded: beside a local lake, `<home>/marks` for the home's.

    For an object store a folder in the home: what this machine has seen.
    """
    parts = urlsplit(root)
    if "://" in root and parts.scheme != "file":
        return home_path() / "marks" / re.sub(r"\W+", "_", root)
    lake = Path(url2pathname(parts.path)) if parts.scheme == "file" else Path(root)
    return lake.with_name("marks" if lake.name == "lake" else f"{lake.name}_marks")


def storage_options() -> Mapping[str, str]:
    """Object-store options for the lake: every `$ML_ASSETS_STORAGE_<NAME>` as `<NAME>`."""
    return {
        name.removeprefix(STORAGE_OPTION_PREFIX): value
        for name, value in os.environ.items()
        if name.startswith(STORAGE_OPTION_PREFIX)
    }


def secrets() -> list[str]:
    """What must never be said: values of storage options, and of the clouds' own variables, that may be credentials.

    In doubt a value is one. Not hidden are options whose name says that they are none, and what is so short that hiding
    it would only garble messages.
    """
    return [value for name, value in os.environ.items() if _is_secret(name, value)]


def _is_secret(name: str, value: str) -> bool:
    words = set(name.removeprefix(STORAGE_OPTION_PREFIX).upper().split("_"))
    if name.startswith(STORAGE_OPTION_PREFIX):
        harmless = not words & SECRET_WORDS and words & HARMLESS_WORDS and not {"@", "?"} & set(value)
        return len(value) >= SHORTEST_SECRET and not harmless
    return name.startswith(CLOUDS) and len(value) >= SHORTEST_SECRET and bool(words & SECRET_WORDS)


def prepare_process(home: Path | None = None) -> None:
    """Switch telemetry off for this process and its children; name Dagster's home when one is given.

    Notes for developers of this platform are kept from its users: what of Dagster is preview or beta.
    """
    for note in DEVELOPERS_NOTES:
        warnings.filterwarnings("ignore", message=note)
    for name, value in PROCESS_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if home is not None:
        os.environ["DAGSTER_HOME"] = str(home / "dagster")
        os.environ[HOME_VARIABLE] = str(home)


def child_environment(home: Path) -> dict[str, str]:
    """The environment for a process that works on `home`."""
    prepare_process(home)
    return dict(os.environ)
