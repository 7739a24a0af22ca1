"""Serves Dagster's UI and daemon over a home, one at a time.

What belongs here: starting and ending `dagster dev`. What does not: what it serves.
"""

import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable

from dagster import DagsterEventType, DagsterInstance

from ml_assets.domain.errors import HomeError
from resources.home import Home
from resources.project import Project
from resources.settings import child_environment

HEARTBEAT_S = 60
STOP_S = 90
LOOK_AGAIN_S = 0.5
# Warnings for developers of Dagster; `dagster dev` needs no project of Dagster's newer kind.
UNHEARD = "Function `dev_command` is superseded"


def serve(home: Home, project: Project, port: int, say: Callable[[str], object]) -> int:
    """The exit status of `dagster dev` over the home of a project, served on loopback until it is interrupted.

    Says where it is once it answers; of Dagster's own log only warnings and errors are printed. Raises HomeError when
    another daemon is alive on the home: two would launch every run twice.
    """
    environment = child_environment(home.path, project.root)
    workspace = project.workspace
    with DagsterInstance.from_config(str(home.dagster)) as instance:
        refuse_second_daemon(instance, home)
        _begin_to_retry(instance)
        python = [sys.executable, "-W", f"ignore:{UNHEARD}", "-m"]
        command = [*python, "dagster", "dev", "-w", str(workspace), "--log-level", "warning"]
        # A shell's background job ignores interrupts, and Dagster's processes would inherit that and never end.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, _interrupt)
        # Every word of the command is ours; nothing of it comes from outside. In a session of its own it gets one
        # signal, from here, instead of a second one from the terminal while it closes its runs.
        served = subprocess.Popen(  # noqa: S603
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            env=environment,
            cwd=project.root,
            start_new_session=True,
        )
        try:
            _say_once_it_answers(served, f"http://127.0.0.1:{port}", home, say)
            return served.wait()
        except KeyboardInterrupt:
            return 0
        finally:
            if served.poll() is None:
                served.terminate()
                served.wait(timeout=STOP_S)
            instance.wipe_daemon_heartbeats()


def _say_once_it_answers(served: "subprocess.Popen[bytes]", url: str, home: Home, say: Callable[[str], object]) -> None:
    while served.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/server_info", timeout=5):  # noqa: S310  loopback
                say(f"{url} shows {home.path}. Ctrl-C ends it.")
                return
        except (urllib.error.URLError, OSError):
            time.sleep(LOOK_AGAIN_S)


def _begin_to_retry(instance: DagsterInstance) -> None:
    """Says from which event on runs that crash are retried: Dagster assumes the same on its first start, and warns."""
    kinds = (DagsterEventType.RUN_FAILURE, DagsterEventType.RUN_SUCCESS)
    wanted = {f"EVENT_LOG_CONSUMER_CURSOR-{kind.value}" for kind in kinds}
    cursors = instance.daemon_cursor_storage
    unset = wanted - cursors.get_cursor_values(wanted).keys()
    if unset:
        newest = instance.event_log_storage.get_maximum_record_id() or 0
        cursors.set_cursor_values(dict.fromkeys(unset, str(newest)))


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def refuse_second_daemon(instance: DagsterInstance, home: Home) -> None:
    """Raises HomeError when a daemon has reported on this home within the last minute."""
    now = time.time()
    alive = {
        kind: now - heartbeat.timestamp
        for kind, heartbeat in instance.get_daemon_heartbeats().items()
        if now - heartbeat.timestamp < HEARTBEAT_S
    }
    if alive:
        kind, age = min(alive.items(), key=lambda item: item[1])
        raise HomeError(
            f"a daemon is alive on {home.path}: {kind} reported {age:.0f} s ago. Use that UI, or stop it first; "
            f"after a crash wait {HEARTBEAT_S} s."
        )
