"""A planted secret, looked for in everything a run leaves behind and everything the UI answers.

What belongs here: storage options as environment variables, real runs from the command line and from the UI, every
GraphQL answer that describes them, every file of the home unpacked. What does not: what the options do.
"""

import gzip
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from graphql_crawl import REPOSITORY
from test_ui_command import free_port, wait_for, wait_for_daemon

from ml_assets.domain.errors import HomeError
from resources.settings import HOME_VARIABLE, LAKE_VARIABLE, STORAGE_OPTION_PREFIX, lake_root

DAY, OTHER_DAY = "2013-03-05", "2013-03-06"
PATIENCE_S = 180
SECRETS = {
    "SECRET_ACCESS_KEY": "plantedSecret/Zt4+Yc9Q7w1",
    "ACCESS_KEY_ID": "AKIAPLANTEDKEY77",
    "SESSION_TOKEN": "plantedToken==//8x2k",
    "AZURE_STORAGE_SAS_TOKEN": "sv=2024&sig=plantedSignature%3D%3D",
}
ENVIRONMENT = {f"{STORAGE_OPTION_PREFIX}{name}": value for name, value in SECRETS.items()}
CRAWL = Path(__file__).parent / "graphql_crawl.py"
JOBS = ("__ASSET_JOB", "retrain_disruption")
# Fields that Dagster itself cannot answer on any home: they are asked as well, and this is all that may fail.
UNANSWERABLE = {
    "alwaysException_of_TestFields",
    "assetConditionEvaluationRecordsOrError",
    "daemonStatus_of_DaemonHealth",
    "dataVersionByPartition_of_AssetNode",
    "partitionKeysOrError_of_Pipeline",
    "staleStatusByPartition_of_AssetNode",
    "stepStats_of_SolidHandle",
}
# Where options would stand if they were configuration: the search must have come by.
SEEN = (
    "configuredValues_of_ResourceDetails",
    "runConfigYaml_of_Run",
    "defaultValueAsJson_of_ConfigTypeField",
    "value_of_PipelineTag",
    "message_of_EngineEvent",
)
CONFIG = "{name description isRequired defaultValueAsJson configType {__typename key description}}"
MODES = f"modes {{name resources {{name description configField {CONFIG}}} loggers {{name configField {CONFIG}}}}}"
OF_JOB = {
    "modes": f"query($job: PipelineSelector!) {{pipelineOrError(params: $job) {{... on Pipeline {{name {MODES}}}}}}}",
    "snapshot": "query($job: PipelineSelector!) {pipelineSnapshotOrError(activePipelineSelector: $job) "
    f"{{... on PipelineSnapshot {{name {MODES} tags {{key value}} metadataEntries {{label}}}}}}}}",
    "launchpad": "query($job: PipelineSelector!) {runConfigSchemaOrError(selector: $job) {... on RunConfigSchema "
    "{rootDefaultYaml allConfigTypes {__typename key description ... on CompositeConfigType "
    "{fields {name description defaultValueAsJson}}}}}}",
    "resources": "query($job: PipelineSelector!) {resourcesOrError(pipelineSelector: $job) {... on ResourceConnection "
    f"{{resources {{name configField {CONFIG}}}}}}}}}",
}
TOP_RESOURCES = (
    "query($repository: RepositorySelector!) {allTopLevelResourceDetailsOrError(repositorySelector: $repository) "
    "{... on ResourceDetailsList {results "
    f"{{name description configuredValues {{key value}} configFields {CONFIG}}}}}}}}}"
)
INSTANCE = "{instance {info executablePath runLauncher {name} runQueueConfig {maxConcurrentRuns}}}"
RUN = (
    "query($run: ID!) {runOrError(runId: $run) {... on Run {status runConfigYaml runConfig tags {key value} "
    "pipelineSnapshotId eventConnection {events {__typename ... on MessageEvent {message}}}}}"
    "  logsForRun(runId: $run) {... on EventConnection {events {... on MessageEvent {message} "
    "... on LogsCapturedEvent {fileKey logKey} ... on ErrorEvent {error {message stack causes {message}}}}}}}"
)
LAUNCH = (
    "mutation($launched: ExecutionParams!) {launchPipelineExecution(executionParams: $launched) "
    "{__typename ... on LaunchRunSuccess {run {runId}} ... on PythonError {message}}}"
)

pytestmark = pytest.mark.xdist_group("daemon")


@dataclass
class Evidence:
    """Whatever was said or written, by where it was found."""

    texts: dict[str, list[bytes]] = field(default_factory=dict)

    def add(self, where: str, said: str | bytes) -> None:
        self.texts.setdefault(where, []).append(said.encode() if isinstance(said, str) else said)

    def leaks(self, secrets: Mapping[str, str] = MappingProxyType(SECRETS)) -> list[str]:
        """Where a planted secret stands, and which."""
        return [
            f"{name} in {where}"
            for where, texts in self.texts.items()
            for name, value in secrets.items()
            if any(form in said for form in forms_of(value) for said in texts)
        ]


def forms_of(secret: str) -> list[bytes]:
    """The secret as it is, in JSON, and percent-encoded."""
    forms = {secret, json.dumps(secret)[1:-1], urllib.request.quote(secret, safe=""), urllib.request.quote(secret)}
    return [form.encode() for form in forms]


def unpacked(content: bytes) -> Iterator[bytes]:
    """The content, and what it unpacks to when it is zlib or gzip, or such bytes written as hexadecimal digits."""
    yield content
    with suppress(zlib.error, EOFError):
        yield zlib.decompress(content)
    with suppress(zlib.error, EOFError, gzip.BadGzipFile):
        yield gzip.decompress(content)


def files_of(home: Path) -> Iterator[tuple[str, bytes]]:
    """Every file of a home, every cell of every SQLite database in it unpacked."""
    for path in sorted(home.rglob("*")):
        if not path.is_file():
            continue
        content = path.read_bytes()
        name = str(path.relative_to(home))
        for at, text in enumerate(unpacked(content)):
            yield f"{name} ({at})", text
        if content.startswith(b"SQLite format 3\0"):
            yield from cells_of(path, name)


def cells_of(path: Path, name: str) -> Iterator[tuple[str, bytes]]:
    """Every cell of a database that holds text or bytes, as it is and unpacked."""
    with closing(sqlite3.connect(path)) as held:
        held.text_factory = bytes
        tables = [row[0].decode() for row in held.execute("select name from sqlite_master where type = 'table'")]
        for table in tables:
            for at, row in enumerate(held.execute(f'select * from "{table}"')):
                for column, cell in enumerate(row):
                    if isinstance(cell, bytes):
                        for form, text in enumerate(unpacked(cell)):
                            yield f"{name}: {table}, row {at}, cell {column}, form {form}", text


@dataclass
class Served:
    """The web server of a home, asked as the UI asks it."""

    url: str
    evidence: Evidence

    def get(self, path: str) -> bytes:
        """What the server says at a path; kept as evidence."""
        with urllib.request.urlopen(f"{self.url}{path}", timeout=PATIENCE_S) as answer:
            said: bytes = answer.read()
        self.evidence.add(path, said)
        for text in unpacked(said):
            self.evidence.add(f"{path} unpacked", text)
        return said

    def answer(self, what: str, query: str, **variables: Any) -> bytes:
        """What the server answers to a query, errors as well; kept as evidence."""
        asked = urllib.request.Request(
            f"{self.url}/graphql",
            json.dumps({"query": query, "variables": variables}).encode(),
            {"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(asked, timeout=PATIENCE_S) as answer:
                said: bytes = answer.read()
        except urllib.error.HTTPError as error:
            said = error.read()
        self.evidence.add(f"GraphQL: {what}", said)
        return said

    def ask(self, what: str, query: str, **variables: Any) -> Any:
        """The data of an answer that holds no error."""
        held = json.loads(self.answer(what, query, **variables))
        assert not held.get("errors"), (what, held["errors"])
        return held["data"]


def ask_everything(served: Served, run_ids: list[str]) -> None:
    """Every question whose answer describes resources, configuration or runs."""
    served.ask("instance", INSTANCE)
    served.ask("resources page", TOP_RESOURCES, repository=REPOSITORY)
    for job in JOBS:
        for what, query in OF_JOB.items():
            said = served.ask(f"{what} of {job}", query, job={**REPOSITORY, "pipelineName": job})
            (answer,) = said.values()
            assert answer, f"{what} of {job}: the answer is of another type"
    for run_id in run_ids:
        served.ask(f"run {run_id}", RUN, run=run_id)
        served.get(f"/download_debug/{run_id}")


def ask_every_field(home: Path, environment: Mapping[str, str], written: Path, evidence: Evidence) -> None:
    """Every field of every type of the schema, by the functions that answer the web server's questions."""
    asked = subprocess.run(
        [sys.executable, CRAWL, str(home), str(written)], env=environment, capture_output=True, check=False
    )
    assert asked.returncode == 0, asked.stderr.decode()
    evidence.add("every field: output", asked.stdout + asked.stderr)
    text = written.read_text()
    evidence.add("every field", text)
    failed = [error for root in json.loads(text).values() for error in root["errors"]]
    assert {where.rpartition(".")[2] for where, _ in failed} <= UNANSWERABLE, failed[:5]
    assert not [each for each in SEEN if f'"{each}": ' not in text]


def launched(served: Served) -> str:
    """The id of a finished run that the UI launched for a day of weather."""
    said = served.ask(
        "launch",
        LAUNCH,
        launched={
            "selector": {
                **REPOSITORY,
                "pipelineName": "__ASSET_JOB",
                "assetSelection": [{"path": ["events", "weather"]}],
            },
            "mode": "default",
            "runConfigData": {},
            "executionMetadata": {"tags": [{"key": "dagster/partition", "value": OTHER_DAY}]},
        },
    )["launchPipelineExecution"]
    assert said["__typename"] == "LaunchRunSuccess", said
    run_id: str = said["run"]["runId"]
    deadline = time.monotonic() + PATIENCE_S
    while (status := served.ask(f"run {run_id}", RUN, run=run_id)["runOrError"]["status"]) not in (
        "SUCCESS",
        "FAILURE",
    ):
        assert time.monotonic() < deadline, f"the run stays {status}"
        time.sleep(0.5)
    assert status == "SUCCESS"
    return run_id


def test_no_option_of_the_object_store_is_shown_or_kept(tmp_path: Path) -> None:
    home, evidence = tmp_path / "home", Evidence()
    environment = {**os.environ, **ENVIRONMENT, HOME_VARIABLE: str(home)}
    for arguments in (["run", "events/weather", DAY], ["run", "events/weather", "2013-02-30"]):
        ran = subprocess.run(
            [sys.executable, "-m", "ml_assets", *arguments], env=environment, capture_output=True, check=False
        )
        assert ran.returncode == (1 if "2013-02-30" in arguments else 0), ran.stderr.decode()
        evidence.add(f"{arguments}: stdout", ran.stdout)
        evidence.add(f"{arguments}: stderr", ran.stderr)
    log, port = tmp_path / "ui.log", free_port()
    with log.open("w") as written:
        ui = subprocess.Popen(
            [sys.executable, "-m", "ml_assets", "ui", "--port", str(port)],
            env=environment,
            stdout=written,
            stderr=subprocess.STDOUT,
        )
        try:
            served = Served(f"http://127.0.0.1:{port}", evidence)
            wait_for(f"{served.url}/server_info", ui, log)
            wait_for_daemon(home, ui, log)
            of_ui = launched(served)
            runs = served.ask("runs", "{runsOrError {... on Runs {results {runId}}}}")["runsOrError"]["results"]
            ids = [run["runId"] for run in runs]
            assert of_ui in ids
            assert len(ids) == 2
            ask_everything(served, ids)
        finally:
            ui.send_signal(signal.SIGINT)
            ui.wait(timeout=PATIENCE_S)
    ask_every_field(home, environment, tmp_path / "answers.json", evidence)
    evidence.add("ui.log", log.read_bytes())
    for where, content in files_of(home):
        evidence.add(where, content)
    assert any(where.startswith("dagster/storage/runs.db: snapshots") for where in evidence.texts)
    assert not evidence.leaks()


def test_the_search_finds_what_is_hidden(tmp_path: Path) -> None:
    """A secret in a packed cell of a database, in a packed file and in JSON."""
    (name, secret), other = next(iter(SECRETS.items())), SECRETS["SESSION_TOKEN"]
    with closing(sqlite3.connect(tmp_path / "runs.db")) as held, held:
        held.execute("create table snapshots (body blob)")
        held.execute("insert into snapshots values (?)", (zlib.compress(f"value: {secret}".encode()),))
    (tmp_path / "debug").write_bytes(gzip.compress(json.dumps({"token": other}).encode()))
    evidence = Evidence()
    for where, content in files_of(tmp_path):
        evidence.add(where, content)
    assert evidence.leaks() == [
        "SESSION_TOKEN in debug (1)",
        f"{name} in runs.db: snapshots, row 0, cell 0, form 1",
    ]


@pytest.mark.parametrize(
    "uri",
    ["s3://AKIA:pass@bucket/lake", "s3://AKIA@bucket/lake", "https://host/lake?sig=abc", "abfss://box:pass@acc/lake"],
)
def test_credentials_in_the_lakes_uri_are_refused_and_not_repeated(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LAKE_VARIABLE, uri)
    with pytest.raises(HomeError) as refused:
        lake_root(Path("home"))
    assert LAKE_VARIABLE in str(refused.value)
    for part in ("AKIA", "pass", "sig", "abc"):
        assert part not in str(refused.value).replace("password", "")


def test_a_uri_without_credentials_is_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    for uri in ("s3://bucket/lake", "abfss://box@account.dfs.core.windows.net/lake", "/srv/lake?x"):
        monkeypatch.setenv(LAKE_VARIABLE, uri)
        assert lake_root(Path("home")) == uri
