"""The home directory: made on first use, whole or not at all, and refused when it is not ours.

What belongs here: layout and version of `$ML_ASSETS_HOME`, Dagster's instance configuration in it.
What does not: what the lake holds.
"""

import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ml_assets.domain.errors import HomeError

LAYOUT = 3
MARKER = "ml_assets.json"
FOLDERS = ("lake", "extracts", "mlflow", "dagster")

# Readers take a folder with '=' for a column, deltalake fails on some, and a SQLite URL ends at a question mark.
UNFIT = frozenset("?%=[]\\^|")

# What a launched run prints is kept for the UI. A run in this process prints to the terminal anyway, and keeping it
# would start four processes a run.
INSTANCE, IN_PROCESS = "dagster.yaml", "in_process.yaml"
WRITTEN = """\
# Written by ml_assets; changes are overwritten, unless this line is taken away: then the file is yours.
# Stock SQLite storage opens a new engine for every record it writes, which was the largest cost of a range run:
# these classes keep one pooled engine each.
# One writer a table (pools): of two runs of one day begun from different inputs the later must not lose silently.
# A crash is worth another try (run_retries), a failure of ours is not: it says what to do.
"""


@dataclass(frozen=True, slots=True)
class Home:
    """An opened home of the current layout."""

    path: Path

    @property
    def extracts(self) -> Path:
        """Date-locked extracts, `extracts/<source>/<day>.parquet`."""
        return self.path / "extracts"

    @property
    def dagster(self) -> Path:
        """Dagster's home: `dagster.yaml` and its storage."""
        return self.path / "dagster"

    @property
    def in_process(self) -> str:
        """The file in Dagster's home that configures its instance for runs in this process.

        A person's own `dagster.yaml` holds for them too: they must end in the same storage.
        """
        return IN_PROCESS if _is_embedded(self.dagster / INSTANCE) else INSTANCE

    @property
    def mlflow(self) -> Path:
        """MLflow's database and artefacts."""
        return self.path / "mlflow"

    @property
    def tracking_uri(self) -> str:
        """MLflow's tracking store: SQLite in the home."""
        return f"sqlite:///{self.mlflow / 'mlflow.db'}"


def open_home(path: Path) -> Home:
    """The home at `path`, made whole first if there is none.

    Raises HomeError, and changes nothing, when the path cannot be written, holds something that is not a
    home, or a home of another layout, or holds a sign that tools misread in paths.
    """
    unfit = sorted({sign for sign in str(path) if sign in UNFIT or not sign.isprintable()})
    if unfit:
        raise HomeError(
            f"the home {str(path)!r} holds {unfit[0]!r}, which file readers and databases misread in a path (as any of "
            f"{' '.join(sorted(UNFIT))}). Nothing was changed; set ML_ASSETS_HOME to a folder without it."
        )
    try:
        if not path.exists() or (path.is_dir() and not any(path.iterdir())):
            _make(path)
        _check(path)
        _configure(path / "dagster")
    except OSError as error:
        raise HomeError(
            f"the home {path} cannot be used: {error.strerror or error}. Give it write permission or set "
            "ML_ASSETS_HOME to a folder that can be written."
        ) from error
    return Home(path)


def _check(path: Path) -> None:
    if not path.is_dir():
        raise HomeError(f"the home {path} is a file, wanted a folder; set ML_ASSETS_HOME to a folder.")
    marker = path / MARKER
    if not marker.exists():
        raise HomeError(
            f"{path} holds files but no {MARKER}: it is no home of ml_assets, or a half-written one. Nothing "
            "was changed; move it away, or set ML_ASSETS_HOME to an empty or a new folder."
        )
    try:
        layout = json.loads(marker.read_text())["layout"]
    except (ValueError, KeyError, TypeError) as error:
        raise HomeError(
            f'{marker} is damaged ({error!r}), wanted {{"layout": {LAYOUT}}}. Nothing was changed; move the home '
            "away or restore the file."
        ) from error
    if layout != LAYOUT:
        raise HomeError(
            f"the home {path} has layout {layout}, wanted {LAYOUT}. Nothing was changed; move it away, or set "
            "ML_ASSETS_HOME to a new folder and run `make demo` there."
        )
    missing = [folder for folder in FOLDERS if not (path / folder).is_dir()]
    if missing:
        raise HomeError(
            f"the home {path} lacks {', '.join(missing)}: it is half-written. Nothing was changed; move it away "
            "or set ML_ASSETS_HOME to a new folder."
        )
    if not os.access(path / "lake", os.W_OK):
        raise HomeError(
            f"the home {path} cannot be used: {path / 'lake'} cannot be written. Give it write permission or set "
            "ML_ASSETS_HOME to a folder that can be written."
        )


def _make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        for folder in FOLDERS:
            (made / folder).mkdir()
        (made / MARKER).write_text(json.dumps({"layout": LAYOUT}) + "\n")
        made.chmod(0o755)
        made.replace(path)
    except OSError:
        shutil.rmtree(made, ignore_errors=True)
        if not (path / MARKER).exists():
            raise


def _is_embedded(file: Path) -> bool:
    """Whether an instance's configuration is the embedded default: not there yet, or written by the platform."""
    return not file.exists() or file.read_text().startswith(WRITTEN[: WRITTEN.index(";")])


def _configure(dagster_home: Path) -> None:
    if not _is_embedded(dagster_home / INSTANCE):
        return
    for name, keeps_logs in ((INSTANCE, True), (IN_PROCESS, False)):
        settings = yaml.safe_dump(_instance(str(dagster_home), keeps_logs=keeps_logs), sort_keys=False)
        wanted = WRITTEN + settings
        target = dagster_home / name
        if target.exists() and target.read_text() == wanted:
            continue
        fresh = target.with_suffix(f".{os.getpid()}")
        fresh.write_text(wanted)
        fresh.replace(target)


def _instance(base: str, *, keeps_logs: bool) -> dict[str, Any]:
    """The settings of Dagster's instance in the folder `base`."""
    storage, core = {"base_dir": f"{base}/storage"}, "dagster._core"
    logs = (
        _class(f"{core}.storage.local_compute_log_manager", "LocalComputeLogManager", base_dir=f"{base}/logs")
        if keeps_logs
        else _class(f"{core}.storage.noop_compute_log_manager", "NoOpComputeLogManager")
    )
    return {
        "event_log_storage": _class("resources.dagster_storage", "PooledSqliteEventLogStorage", **storage),
        "run_storage": _class("resources.dagster_storage", "PooledSqliteRunStorage", **storage),
        "schedule_storage": _class(f"{core}.storage.schedules", "SqliteScheduleStorage", **storage),
        "local_artifact_storage": _class(f"{core}.storage.root", "LocalArtifactStorage", base_dir=base),
        "compute_logs": logs,
        "run_launcher": _class(f"{core}.launcher.default_run_launcher", "DefaultRunLauncher"),
        "concurrency": {
            "pools": {"default_limit": 1, "granularity": "op"},
            "runs": {"max_concurrent_runs": 2},
        },
        "run_monitoring": {
            "enabled": True,
            "start_timeout_seconds": 300,
            "free_slots_after_run_end_seconds": 30,
        },
        "run_retries": {"enabled": True, "max_retries": 1, "retry_on_asset_or_op_failure": False},
        # What a run prints where `make ui` was typed; the UI shows every event of it whatever this says.
        "python_logs": {"python_log_level": "WARNING"},
        "telemetry": {"enabled": False},
        "nux": {"enabled": False},
    }


def _class(module: str, name: str, **config: str) -> dict[str, Any]:
    return {"module": module, "class": name, **({"config": config} if config else {})}
