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

from ml_assets.domain.errors import HomeError

LAYOUT = 2
MARKER = "ml_assets.json"
FOLDERS = ("lake", "extracts", "mlflow", "dagster")

# What a launched run prints is kept for the UI. A run in this process prints to the terminal anyway, and keeping it
# would start four processes a run.
KEPT_LOGS = """local_compute_log_manager
  class: LocalComputeLogManager
  config: {{base_dir: "{base}/logs"}}"""
NO_LOGS = """noop_compute_log_manager
  class: NoOpComputeLogManager"""
INSTANCE, IN_PROCESS = "dagster.yaml", "in_process.yaml"

DAGSTER_YAML = """\
# Written by ml_assets; changes are overwritten. Stock SQLite storage opens a new engine for every record it
# writes, which was the largest cost of a range run: these classes keep one pooled engine each.
event_log_storage:
  module: resources.dagster_storage
  class: PooledSqliteEventLogStorage
  config: {{base_dir: "{base}/storage"}}
run_storage:
  module: resources.dagster_storage
  class: PooledSqliteRunStorage
  config: {{base_dir: "{base}/storage"}}
schedule_storage:
  module: dagster._core.storage.schedules
  class: SqliteScheduleStorage
  config: {{base_dir: "{base}/storage"}}
local_artifact_storage:
  module: dagster._core.storage.root
  class: LocalArtifactStorage
  config: {{base_dir: "{base}"}}
compute_logs:
  module: dagster._core.storage.{logs}
run_launcher:
  module: dagster._core.launcher.default_run_launcher
  class: DefaultRunLauncher
concurrency:
  # One writer a table: of two runs of one day begun from different inputs the later must not lose silently.
  pools: {{default_limit: 1, granularity: op}}
  runs: {{max_concurrent_runs: 2}}
run_monitoring:
  enabled: true
  start_timeout_seconds: 300
  free_slots_after_run_end_seconds: 30
run_retries:
  enabled: true
  max_retries: 1
  # A crash is worth another try, a failure of ours is not: it says what to do.
  retry_on_asset_or_op_failure: false
telemetry:
  enabled: false
nux:
  enabled: false
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
    home, or a home of another layout.
    """
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
        raise PermissionError(13, "the folder cannot be written", str(path / "lake"))


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


def _configure(dagster_home: Path) -> None:
    for name, logs in ((INSTANCE, KEPT_LOGS), (IN_PROCESS, NO_LOGS)):
        wanted = DAGSTER_YAML.format(base=dagster_home, logs=logs.format(base=dagster_home))
        target = dagster_home / name
        if target.exists() and target.read_text() == wanted:
            continue
        fresh = target.with_suffix(f".{os.getpid()}")
        fresh.write_text(wanted)
        fresh.replace(target)
