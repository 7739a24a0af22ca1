"""The only reader of the environment, and the only writer of what other tools read from it.

What belongs here: the platform's settings as one frozen value, what is secret of the environment, telemetry switches,
which warnings are not for users.
What does not: decisions, where a project lies (`project.py`), directories being made (`home.py`).
"""

import difflib
import os
import re
import warnings
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from ml_assets.domain.errors import HomeError, SettingsError

PREFIX = "ML_ASSETS_"
HOME_VARIABLE = "ML_ASSETS_HOME"
LAKE_VARIABLE = "ML_ASSETS_LAKE"
PROJECT_VARIABLE = "ML_ASSETS_PROJECT"
CATALOG_VARIABLE = "ML_ASSETS_CATALOG"
AZURE_SCHEMES = frozenset({"abfs", "abfss", "wasb", "wasbs"})
STORAGE_OPTION_PREFIX = "ML_ASSETS_STORAGE_"
# Variables of the platform's own tests are no settings.
TEST_PREFIX = "ML_ASSETS_TEST_"
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
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "GIT_PYTHON_REFRESH": "quiet",
    "SQLALCHEMY_SILENCE_UBER_WARNING": "1",
    # OpenMP's threads wait by spinning unless told otherwise: on a busy machine two took ten times as long as one.
    "OMP_WAIT_POLICY": "PASSIVE",
    # Threads that do not spin pay for every wake-up: two on two cores were slower than one. Half of the cores it is,
    # which leaves the others to whatever else the run and its neighbours compute.
    "OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // 2)),
}
# Beginnings of warnings that a user of the platform can do nothing about: hundreds of lines at every command.
DEVELOPERS_NOTES = (r".*is currently in (beta|preview)", "Asset job retrain_.* materializes assets with varying")


class Settings(BaseSettings):
    """What the environment says of the platform: every field is the variable `ML_ASSETS_<FIELD>`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", env_ignore_empty=True)

    home: Path | None = Field(
        default=None, description="Folder of everything that is kept; `.ml_assets` in the project when not set."
    )
    lake: str | None = Field(
        default=None, description="Where the lake lies when not in the home: a folder, or an object store's URI."
    )
    project: Path | None = Field(
        default=None,
        description="Folder of the project; the nearest one upwards from the working directory when not set.",
    )
    catalog: str | None = Field(
        default=None,
        description="Package of the catalogue; the one that the project's pyproject.toml names if not set.",
    )
    storage: Mapping[str, str] = Field(
        default_factory=dict,
        repr=False,
        description="Options of the lake's object store, each a variable ML_ASSETS_STORAGE_<OPTION>.",
    )

    @field_validator("home", "project")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        return path.expanduser().resolve() if path else None


def settings() -> Settings:
    """The settings that the environment holds now, one frozen value as long as it holds the same.

    Raises SettingsError for a variable that is no setting, with the known ones.
    """
    return _settings(tuple(sorted((name, value) for name, value in os.environ.items() if name.startswith(PREFIX))))


@lru_cache(maxsize=8)
def _settings(variables: tuple[tuple[str, str], ...]) -> Settings:
    options = {
        name.removeprefix(STORAGE_OPTION_PREFIX): value
        for name, value in variables
        if name.startswith(STORAGE_OPTION_PREFIX)
    }
    known = [f"{PREFIX}{field.upper()}" for field in Settings.model_fields if field != "storage"]
    for name, _ in variables:
        if name in known or name.startswith((STORAGE_OPTION_PREFIX, TEST_PREFIX)):
            continue
        close = difflib.get_close_matches(name, known, n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        raise SettingsError(
            f"the environment holds {name}, which is no setting; known are {', '.join(known)} and "
            f"{STORAGE_OPTION_PREFIX}<OPTION>.{hint}"
        )
    return Settings(storage=options)


def checkout() -> Path:
    """The folder that holds the platform's packages: its checkout, or where it is installed."""
    return Path(__file__).resolve().parent.parent


def working_directory() -> Path:
    """The folder in which the process was started."""
    return Path.cwd()


def lake_root(home: Path) -> str:
    """Where the lake lies: `$ML_ASSETS_LAKE` (an object store's URI), or `lake` in the home.

    Raises HomeError for a URI with credentials in it: it stands in messages, logs and the summary.
    """
    chosen = settings().lake
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


def marks_folder(root: str, home: Path) -> Path:
    """Where the last commits of the lake at `root` are recorded: beside a local lake, `<home>/marks` for the home's.

    For an object store a folder in the home: what this machine has seen.
    """
    parts = urlsplit(root)
    if "://" in root and parts.scheme != "file":
        return home / "marks" / re.sub(r"\W+", "_", root)
    lake = Path(url2pathname(parts.path)) if parts.scheme == "file" else Path(root)
    return lake.with_name("marks" if lake.name == "lake" else f"{lake.name}_marks")


def secrets() -> list[str]:
    """What must never be said: values of storage options, of the clouds' own variables, passwords in URLs.

    In doubt a value is one. Not hidden are options whose name says that they are none, and what is so short that hiding
    it would only garble messages.
    """
    return list(_secrets_of(tuple(os.environ.items())))


@lru_cache(maxsize=8)
def _secrets_of(environment: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
    found = [value for name, value in environment if _is_secret(name, value)]
    urls = [value for _, value in environment if "://" in value]
    return (*found, *(password for value in urls for password in _passwords(value)))


def _is_secret(name: str, value: str) -> bool:
    words = set(name.removeprefix(STORAGE_OPTION_PREFIX).upper().split("_"))
    if name.startswith(STORAGE_OPTION_PREFIX):
        harmless = not words & SECRET_WORDS and words & HARMLESS_WORDS and not {"@", "?"} & set(value)
        return len(value) >= SHORTEST_SECRET and not harmless
    return name.startswith(CLOUDS) and len(value) >= SHORTEST_SECRET and bool(words & SECRET_WORDS)


def _passwords(url: str) -> list[str]:
    """The password of a URL, as it stands there and decoded; none when there is none, or what came is no URL."""
    try:
        password = urlsplit(url).password
    except ValueError:
        return []
    return [form for form in {password, unquote(password)} if len(form) >= SHORTEST_SECRET] if password else []


def prepare_process(home: Path | None = None) -> None:
    """Switch telemetry off for this process and its children; name the home, and Dagster's, when one is given.

    Notes for developers of this platform are kept from its users: what of Dagster is preview or beta.
    """
    for note in DEVELOPERS_NOTES:
        warnings.filterwarnings("ignore", message=note)
    for name, value in PROCESS_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if home is not None:
        os.environ["DAGSTER_HOME"] = str(home / "dagster")
        os.environ[HOME_VARIABLE] = str(home)


def child_environment(home: Path, project: Path | None = None) -> dict[str, str]:
    """The environment for a process that works on `home`, of the project in the given folder."""
    prepare_process(home)
    if project is not None:
        os.environ[PROJECT_VARIABLE] = str(project)
    return dict(os.environ)


def variable(name: str) -> str | None:
    """What a variable that a declaration names holds (a database's URL); None when it is not set or empty."""
    return os.environ.get(name) or None
