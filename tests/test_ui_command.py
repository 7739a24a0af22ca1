"""`make ui` as a process: it serves the home, ends when told, and refuses a home with a living daemon."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from resources.home import open_home

PATIENCE_S = 120

pytestmark = pytest.mark.xdist_group("daemon")


def test_it_serves_and_a_second_one_is_refused(tmp_path: Path) -> None:
    home = tmp_path / "home"
    open_home(home)
    port = free_port()
    environment = {**os.environ, "ML_ASSETS_HOME": str(home)}
    command = [sys.executable, "-m", "ml_assets", "ui", "--port", str(port)]
    log = tmp_path / "ui.log"
    with log.open("w") as written:
        served = subprocess.Popen(command, env=environment, stdout=written, stderr=subprocess.STDOUT)
        try:
            wait_for(f"http://127.0.0.1:{port}/server_info", served, log)
            wait_for_daemon(home, served, log)
            second = subprocess.run(
                command, env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE_S
            )
            assert second.returncode == 1
            assert "a daemon is alive" in second.stderr
            assert len(second.stderr.strip().splitlines()) == 1
            wait_for_ticks(home)
            # Where it is, and nothing that a user can do nothing about.
            assert log.read_text() == f"http://127.0.0.1:{port} shows {home}. Ctrl-C ends it.\n"
        finally:
            served.send_signal(signal.SIGINT)
            served.wait(timeout=PATIENCE_S)
    third = subprocess.run(
        [sys.executable, "-c", REFUSED_OR_NOT],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert third.stdout.strip() == "free", third.stderr


REFUSED_OR_NOT = """
from dagster import DagsterInstance
from ml_assets.serve import refuse_second_daemon
from resources.home import open_home
from resources.project import this_project
home = open_home(this_project().home)
with DagsterInstance.from_config(str(home.dagster)) as instance:
    refuse_second_daemon(instance, home)
print("free")
"""


def wait_for(url: str, served: subprocess.Popen[bytes], log: Path) -> None:
    """Waits until the server answers."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        assert served.poll() is None, log.read_text()[-3000:]
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                assert answer.status == 200
                return
        except (urllib.error.URLError, TimeoutError):
            time.sleep(0.5)
    pytest.fail(f"{url} did not answer:\n{log.read_text()[-3000:]}")


def wait_for_daemon(home: Path, served: subprocess.Popen[bytes], log: Path) -> None:
    """Waits until the home's daemon has reported."""
    from dagster import DagsterInstance

    deadline = time.monotonic() + PATIENCE_S
    with DagsterInstance.from_config(str(home / "dagster")) as instance:
        while not instance.get_daemon_heartbeats():
            assert served.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(0.5)


def wait_for_ticks(home: Path) -> None:
    """Waits until the daemon has looked at every sensor."""
    from dagster import DagsterInstance

    deadline = time.monotonic() + PATIENCE_S
    with DagsterInstance.from_config(str(home / "dagster")) as instance:
        while True:
            states = instance.all_instigator_state()
            ticks = [instance.get_ticks(state.instigator_origin_id, state.selector_id) for state in states]
            if len(ticks) > 1 and all(any(tick.is_completed for tick in held) for held in ticks):
                return
            assert time.monotonic() < deadline, [held and held[0].status for held in ticks]
            time.sleep(0.5)


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
