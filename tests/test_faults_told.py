"""Faults from outside, met by the real command line: one sentence that names the place and the remedy, exit 1.

What belongs here: damaged databases, full disks, things in the way, odd homes, Ctrl-C, each in a process of its own.
What does not: bad arguments (`test_cli.py`), bad days (`test_bad_days.py`).
"""

import ctypes
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from sqlite3 import connect

import pytest
from test_secrets import Evidence, files_of

from resources.home import open_home
from resources.settings import HOME_VARIABLE

DAY = "2013-03-21"
WEATHER = ("run", "events/weather", DAY)
PATIENCE_S = 120


def ml_assets(home: Path, *arguments: str, **named: object) -> subprocess.CompletedProcess[str]:
    """The command line over a home, in a process of its own."""
    environment = {**os.environ, HOME_VARIABLE: str(home), **named.pop("env", {})}
    return subprocess.run(
        [sys.executable, "-m", "ml_assets", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
        **named,
    )


def sentence(ran: subprocess.CompletedProcess[str], longest: int = 900) -> str:
    """The one sentence of a command that failed."""
    assert ran.returncode == 1, (ran.returncode, ran.stdout, ran.stderr)
    assert ran.stdout == ""
    assert len(ran.stderr.splitlines()) == 1, ran.stderr
    assert ran.stderr.startswith("ml-assets: ")
    assert len(ran.stderr) < longest, "that is no sentence any more"
    return ran.stderr


@pytest.fixture
def used(tmp_path: Path) -> Path:
    """A home in which one day has been run."""
    home = tmp_path / "home"
    open_home(home)
    ran = ml_assets(home, *WEATHER)
    assert ran.returncode == 0, ran.stderr
    return home


def garbage(path: Path) -> None:
    for beside in ("-wal", "-shm"):
        path.with_name(path.name + beside).unlink(missing_ok=True)
    path.write_bytes(b"no database at all" * 500)


def garbage_within(path: Path) -> None:
    with closing(connect(path)) as held:
        held.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = bytearray(path.read_bytes())
    content[100:] = b"\xa5" * (len(content) - 100)
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("damage", [garbage, garbage_within])
@pytest.mark.parametrize("name", ["event_log.db", "runs.db"])
def test_a_damaged_database_is_named(used: Path, name: str, damage: Callable[[Path], None]) -> None:
    path = used / "dagster" / "storage" / name
    damage(path)
    said = sentence(ml_assets(used, *WEATHER))
    assert f"{path} is damaged" in said
    assert "Restore it" in said
    for beside in ("", "-wal", "-shm"):
        path.with_name(path.name + beside).unlink(missing_ok=True)
    mended = ml_assets(used, *WEATHER)
    assert mended.returncode == 0, mended.stderr


def test_damaged_databases_of_mlflow_are_named(tmp_path: Path) -> None:
    home = tmp_path / "home"
    open_home(home)
    garbage(home / "mlflow" / "mlflow.db")
    ran = subprocess.run(
        [sys.executable, "-c", RECORD, str(home)], capture_output=True, text=True, check=False, timeout=PATIENCE_S
    )
    said = sentence(ran)
    assert f"{home / 'mlflow' / 'mlflow.db'} is damaged" in said


# Training takes a month of features; what fails here is the record of it, told as the command line tells it.
RECORD = """
import os
import sys
from pathlib import Path
import ml_assets.__main__ as line
from ml_assets.definitions import resources_of
from resources.home import Home

def record(_):
    store = resources_of(Home(Path(sys.argv[1])))["mlflow"]
    store.record(asset="a", partition="p", dagster_run_id="r", params={}, metrics={}, tags={}, files={})
line.COMMANDS["summary"] = record
os.environ["ML_ASSETS_HOME"] = sys.argv[1]
sys.exit(line.main(["summary"]))
"""


@pytest.mark.parametrize("limit", [40_000, 400_000])
def test_a_limit_of_file_sizes_is_told(tmp_path: Path, limit: int) -> None:
    """Below the size of the databases' files, and below that of an extract or the write-ahead log."""
    home = tmp_path / "home"
    open_home(home)
    ran = ml_assets(home, *WEATHER, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    said = sentence(ran)
    assert "ulimit -f" in said
    again = ml_assets(home, *WEATHER)
    assert again.returncode == 0, again.stderr


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB."""
    path = tmp_path / "disk"
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(path)], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("a file system can be mounted by root only")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


def test_a_full_disk_is_told(small_disk: Path) -> None:
    home = small_disk / "home"
    ran = ml_assets(home, *WEATHER)
    said = sentence(ran)
    assert "room" in said or "space" in said


def test_a_file_where_the_extracts_of_a_source_are_wanted(tmp_path: Path) -> None:
    home = tmp_path / "home"
    open_home(home)
    (home / "extracts" / "weather").write_text("in the way")
    said = sentence(ml_assets(home, *WEATHER))
    assert str(home / "extracts" / "weather") in said
    assert "move it away" in said


def under_permissions() -> None:
    """Takes from this process what lets root read everything, for what it executes."""
    if os.geteuid() == 0:
        for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
            if ctypes.CDLL(None, use_errno=True).prctl(24, capability, 0, 0, 0):  # PR_CAPBSET_DROP
                raise OSError(ctypes.get_errno(), "permissions cannot be made to bind root")


@pytest.fixture
def locked(used: Path) -> Iterator[Path]:
    """The weather extracts of a home, closed to everybody; that they are is seen to first."""
    extracts = used / "extracts" / "weather"
    extracts.chmod(0)
    looked = subprocess.run(["ls", str(extracts)], preexec_fn=under_permissions, check=False, capture_output=True)
    assert looked.returncode, "permissions do not bind here, and the test would show nothing"
    yield extracts
    extracts.chmod(0o755)


def test_extracts_without_permission(used: Path, locked: Path) -> None:
    said = sentence(ml_assets(used, *WEATHER, preexec_fn=under_permissions))
    assert str(locked) in said
    assert "access" in said


def lost(file: Path) -> None:
    file.unlink()


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flipped(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 0xFF
    content[-6] ^= 0xFF
    file.write_bytes(bytes(content))


@pytest.mark.parametrize("damage", [lost, cut, flipped])
def test_a_damaged_file_of_the_lake(used: Path, damage: Callable[[Path], None]) -> None:
    (file,) = (used / "lake" / "events" / "weather").glob(f"partition_date={DAY}/*.parquet")
    damage(file)
    said = sentence(ml_assets(used, "run", "features/weather", DAY))
    assert "weather: " in said


@pytest.mark.parametrize("sign", ["?", "%", "=", "[", "^", "|", "\n", "\t"])
def test_a_home_that_tools_would_misread_is_refused(tmp_path: Path, sign: str) -> None:
    home = tmp_path / f"a{sign}b"
    said = sentence(ml_assets(home, *WEATHER))
    assert repr(sign) in said
    assert "ML_ASSETS_HOME" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["we\"ird 'home'", "{base} #1: &x *y !z", "größe, ~ $HOME `x` @;"])
def test_a_home_of_an_odd_name_works(tmp_path: Path, name: str) -> None:
    home = tmp_path / name
    for asset in ("events/weather", "features/weather"):
        ran = ml_assets(home, "run", asset, DAY)
        assert ran.returncode == 0, ran.stderr
    assert (home / "dagster" / "storage" / "event_log.db").is_file()
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_an_interrupt_ends_a_run_without_a_traceback(tmp_path: Path) -> None:
    home = tmp_path / "home"
    open_home(home)
    running = subprocess.Popen(
        [sys.executable, "-m", "ml_assets", "run", "events/flights", DAY],
        env={**os.environ, HOME_VARIABLE: str(home)},
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + PATIENCE_S
    while not (home / "dagster" / "owners").is_dir() or not any((home / "dagster" / "owners").glob("[!.]*")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.3)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 130, said
    assert "Traceback" not in said


def test_a_bug_shows_its_traceback_without_secrets() -> None:
    code = (
        "import sys, ml_assets.__main__ as line\n"
        "def bug(_): raise RuntimeError('a bug with plantedSecretValue in it')\n"
        "line.COMMANDS['summary'] = bug\n"
        "sys.exit(line.main(['summary']))\n"
    )
    secret = {"ML_ASSETS_STORAGE_SECRET_ACCESS_KEY": "plantedSecretValue"}
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **secret},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert ran.returncode == 1
    assert "Traceback" in ran.stderr
    assert "RuntimeError: a bug with *** in it" in ran.stderr
    assert "plantedSecretValue" not in ran.stderr


class Echo(BaseHTTPRequestHandler):
    """An object store that repeats whatever it was sent in its refusals."""

    def refuse(self) -> None:
        sent = f"{self.path} {self.headers}"
        said = f"<Error><Code>AccessDenied</Code><Message>you sent {sent}</Message></Error>".encode()
        self.send_response(403)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(said)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = refuse  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Nothing."""


def test_what_an_object_store_repeats_is_hidden(tmp_path: Path) -> None:
    """A refused request: its headers hold the access key, the token and a signature, and the answer repeats them."""
    planted = {
        "ACCESS_KEY_ID": "AKIAECHOED1234567",
        "SESSION_TOKEN": "echoedToken1234567",
        "SECRET_ACCESS_KEY": "s" * 40,
    }
    home = tmp_path / "home"
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    options = {**planted, "ENDPOINT": f"http://127.0.0.1:{server.server_port}", "ALLOW_HTTP": "true", "REGION": "r"}
    environment = {f"ML_ASSETS_STORAGE_{name}": value for name, value in options.items()}
    try:
        ran = ml_assets(home, *WEATHER, env={**environment, "ML_ASSETS_LAKE": "s3://bucket/lake"})
    finally:
        server.shutdown()
        server.server_close()
    said = sentence(ran, longest=2000)
    assert "s3://bucket/lake" in said
    assert "AccessDenied" in said, "the store no longer repeats what it was told, and this test shows nothing"
    evidence = Evidence()
    evidence.add("stderr", said)
    for where, content in files_of(home):
        evidence.add(where, content)
    assert not evidence.leaks(planted)
    kept = [text for where, texts in evidence.texts.items() if "event_log" in where for text in texts]
    assert any(b"AccessDenied" in text for text in kept)
