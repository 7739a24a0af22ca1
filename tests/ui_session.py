"""Dagster's web server, code location and daemon over a home, and what Dagster's UI asks of them.

What belongs here: starting and ending the processes, the mutations and queries that the UI sends (recorded from it in
Chromium, cut down to the fields that are looked at), waiting. Nothing that asserts; nothing of the product's own.
What does not: which journeys there are (`test_ui_journeys.py`), the mouse (`browser.py`).
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fast_daemon import START

from resources.settings import checkout, child_environment

# The catalogue of `short_year.py`; `ml_assets.definitions` is the shipped one.
SHORT, SHIPPED = "short_location", "ml_assets.definitions"
LOCATION, REPOSITORY, ASSET_JOB = "ml_assets", "__repository__", "__ASSET_JOB"
TESTS = Path(__file__).resolve().parent
# They end as soon as the thing is there; a machine may be busy with other things.
START_S, END_S, PATIENCE_S = 300, 30, 900
POLL_S = 0.2
# How long the daemon waits for a run's process to begin before it gives the run up.
RUN_START_S, RUN_START_AFTER_KILLS_S = 120, 15


@dataclass
class Processes:
    """One group of processes that live and die together: code server, web server, daemon."""

    home: Path
    logs: Path
    module: str
    port: int
    run_start_s: int = RUN_START_S
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, *names: str) -> None:
        """Starts what is not running; all of it when nothing is named."""
        workspace, socket_path = self.logs / "workspace.yaml", self.logs / "code.sock"
        served = {"location_name": LOCATION, "socket": str(socket_path), "host": "localhost"}
        workspace.write_text(json.dumps({"load_from": [{"grpc_server": served}]}))
        python = [sys.executable, "-m"]
        commands = {
            "code": [
                sys.executable, str(TESTS / "fast_code.py"), "grpc", "--module-name", self.module,
                "--working-directory", str(checkout()),
                "--socket", str(socket_path), "--location-name", LOCATION, "--log-level", "warning",
            ],
            "web": [
                *python, "dagster_webserver", "--host", "127.0.0.1", "--port", str(self.port),
                "--workspace", str(workspace), "--code-server-log-level", "warning",
            ],
            "daemon": [sys.executable, str(TESTS / "fast_daemon.py"), str(workspace)],
        }  # fmt: skip
        for name in names or commands:
            if name in self.running and self.running[name].poll() is None:
                continue
            if name == "code":
                socket_path.unlink(missing_ok=True)
            with (self.logs / f"{name}.log").open("a") as written:
                # A group of its own, so that one signal reaches it and the runs it has started.
                self.running[name] = subprocess.Popen(
                    commands[name],
                    env=self._environment(),
                    cwd=checkout(),
                    stdout=written,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            if name == "code":
                self._await_socket(socket_path)

    def end(self) -> None:
        """Ends everything in order, and what does not end, for good; a code server only ends with what it serves."""
        for name, end in (("daemon", signal.SIGTERM), ("web", signal.SIGINT), ("code", signal.SIGKILL)):
            process = self.running.pop(name, None)
            if process is None:
                continue
            process.send_signal(end)
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=END_S)
            _kill_group(process)

    def kill(self, *names: str) -> None:
        """SIGKILL to the groups, runs included: what a power cut or an out-of-memory killer does."""
        for name in names or tuple(self.running):
            _kill_group(self.running.pop(name))

    @contextmanager
    def kills(self) -> Iterator[None]:
        """A time of kills: a run that was killed before it began is given up sooner, and so may be one that lives."""
        try:
            self._restart_daemon(RUN_START_AFTER_KILLS_S)
            yield
        finally:
            self._restart_daemon(RUN_START_S)

    def tails(self) -> str:
        """The ends of the logs, for a message about what did not happen."""
        return "\n".join(f"--- {log.name}\n{log.read_text()[-3000:]}" for log in sorted(self.logs.glob("*.log")))

    def alive(self) -> None:
        """Raises RuntimeError with the logs when a process has ended by itself."""
        ended = [name for name, process in self.running.items() if process.poll() is not None]
        if ended:
            raise RuntimeError(f"{', '.join(ended)} ended by itself:\n{self.tails()}")

    def _environment(self) -> dict[str, str]:
        found = {**child_environment(self.home), "PYTHONUNBUFFERED": "1", START: str(self.run_start_s)}
        # What is under test is this checkout, whatever else is installed.
        paths = [str(checkout()), str(TESTS), found.get("PYTHONPATH", "")]
        return {**found, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}

    def _restart_daemon(self, run_start_s: int) -> None:
        self.kill("daemon")
        self.run_start_s = run_start_s
        self.start("daemon")

    def _await_socket(self, path: Path) -> None:
        deadline = time.monotonic() + START_S
        while not path.exists():
            self.alive()
            if time.monotonic() > deadline:
                raise TimeoutError(f"the code server did not start:\n{self.tails()}")
            time.sleep(POLL_S)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=END_S)


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Checked:
    """How many days each colour of a check's bar has (Checks → Partitions); `missing` is what the others leave."""

    passed: int
    failed: int
    in_progress: int
    skipped: int
    execution_failed: int
    missing: int


@dataclass(frozen=True)
class Filled:
    """The days of each colour of an asset's partition bar."""

    materialized: frozenset[str]
    failed: frozenset[str]
    in_progress: frozenset[str]
    known: tuple[str, ...]

    @property
    def missing(self) -> frozenset[str]:
        return frozenset(self.known) - self.materialized - self.failed - self.in_progress


class GraphQLError(Exception):
    """What the UI would have shown in a red box."""


@dataclass
class UiSession:
    """Dagster's UI as it speaks: mutations and queries of a web server."""

    processes: Processes

    @property
    def url(self) -> str:
        """Where a browser goes."""
        return f"http://127.0.0.1:{self.processes.port}"

    # What a person launches.

    def launch_one_day(
        self,
        assets: Sequence[str],
        day: str,
        config: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
        job: str = ASSET_JOB,
    ) -> str:
        """The run that Materialize → one day → Launch starts; GraphQLError holds what the UI would have shown.

        Before it launches, the UI asks for the tags and the configuration of that day of the assets.
        """
        keys = [{"path": asset.split("/")} for asset in assets]
        of_day = self._of_day(keys, day, job)
        chosen = {**of_day, **(tags or {}), "dagster/from_ui": "true"}
        parameters = {
            "mode": "default",
            "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in chosen.items()]},
            "runConfigData": json.dumps(config or {}),
            "selector": {
                "repositoryLocationName": LOCATION,
                "repositoryName": REPOSITORY,
                "pipelineName": job,
                "assetSelection": keys,
                "assetCheckSelection": self._checks_of(keys),
            },
        }
        told = self.ask(LAUNCH_RUN, {"executionParams": parameters})["launchPipelineExecution"]
        return str(_wanted(told, "LaunchRunSuccess")["run"]["id"])

    def launch_backfill(
        self,
        assets: Sequence[str],
        days: Sequence[str],
        config: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> str:
        """The backfill that Materialize → several days → Launch starts."""
        chosen = {**(tags or {}), "dagster/from_ui": "true"}
        parameters: dict[str, Any] = {
            "tags": [{"key": key, "value": value} for key, value in chosen.items()],
            "assetSelection": [{"path": asset.split("/")} for asset in assets],
            "partitionNames": list(days),
            "fromFailure": False,
        }
        if config is not None:
            parameters["runConfigData"] = dict(config)
        told = self.ask(LAUNCH_BACKFILL, {"backfillParams": parameters})["launchPartitionBackfill"]
        return str(_wanted(told, "LaunchBackfillSuccess")["backfillId"])

    def reexecute(self, run: str, strategy: str = "ALL_STEPS") -> str:
        """The run that Re-execute all starts; `FROM_FAILURE` is the other choice of its menu."""
        parameters = {
            "parentRunId": run,
            "strategy": strategy,
            "extraTags": [{"key": "dagster/from_ui", "value": "true"}],
        }
        told = self.ask(REEXECUTE_RUN, {"reexecutionParams": parameters})["launchPipelineReexecution"]
        return str(_wanted(told, "LaunchRunSuccess")["run"]["id"])

    def cancel_run(self, run: str) -> None:
        """Terminate, as the button on the run's page asks for it."""
        told = self.ask(TERMINATE_RUNS, {"runIds": [run], "terminatePolicy": "SAFE_TERMINATE"})["terminateRuns"]
        _wanted(told, "TerminateRunsResult")

    def cancel_backfill(self, backfill: str) -> None:
        """Cancel backfill, until it is heard: the daemon's tick may write back what it read before."""
        deadline = time.monotonic() + PATIENCE_S
        while self.backfill(backfill)["status"] == "REQUESTED":
            if time.monotonic() > deadline:
                raise TimeoutError(f"backfill {backfill} was not cancelled:\n{self.processes.tails()}")
            told = self.ask(CANCEL_BACKFILL, {"backfillId": backfill})["cancelPartitionBackfill"]
            _wanted(told, "CancelBackfillSuccess")
            time.sleep(POLL_S)

    def downstream(self, asset: str) -> list[str]:
        """What Lineage → Downstream → All shows: the asset and everything that depends on it."""
        nodes = {"/".join(node["assetKey"]["path"]): node for node in self.ask(GRAPH)["assetNodes"]}
        children: dict[str, set[str]] = {}
        for name, node in nodes.items():
            for parent in node["dependencyKeys"]:
                children.setdefault("/".join(parent["path"]), set()).add(name)
        found, edge = {asset}, {asset}
        while edge:
            edge = set().union(*(children.get(name, set()) for name in edge)) - found
            found |= edge
        return sorted(name for name in found if nodes[name]["isMaterializable"])

    # What its pages ask.

    def run(self, run: str) -> dict[str, Any]:
        """Status and tags of a run (its page)."""
        told = _wanted(self.ask(RUN, {"runId": run})["runOrError"], "Run")
        return {**told, "tags": {tag["key"]: tag["value"] for tag in told["tags"]}}

    def runs(self) -> list[dict[str, Any]]:
        """Every run, the newest first (the runs page)."""
        told = _wanted(self.ask(RUNS)["runsOrError"], "Runs")["results"]
        return [{**run, "tags": {tag["key"]: tag["value"] for tag in run["tags"]}} for run in told]

    def backfill(self, backfill: str) -> dict[str, Any]:
        """Status of a backfill, and per asset how many of its days are targeted, done and failed (its page)."""
        told = _wanted(self.ask(BACKFILL, {"backfillId": backfill})["partitionBackfillOrError"], "PartitionBackfill")
        return dict(told)

    def backfills(self) -> list[dict[str, Any]]:
        """Every backfill, the newest first."""
        return list(_wanted(self.ask(BACKFILLS)["partitionBackfillsOrError"], "PartitionBackfills")["results"])

    def check_bar(self, asset: str, check: str) -> Checked:
        """The bar of Checks → Partitions: an evaluation counts when it names its day's newest materialisation."""
        told = self.ask(CHECK_PARTITIONS, {"assetKey": {"path": asset.split("/")}, "checkName": check})
        held = _wanted(_wanted(told["assetNodeOrError"], "AssetNode")["assetCheckOrError"], "AssetCheck")
        known = [key for dimension in held["partitionKeysByDimension"] for key in dimension["partitionKeys"]]
        count: dict[str, int] = {}
        for found in held["partitionStatuses"]["ranges"]:
            days = sum(found["startKey"] <= key <= found["endKey"] for key in known)
            count[found["status"]] = count.get(found["status"], 0) + days
        return Checked(
            passed=count.get("SUCCEEDED", 0),
            failed=count.get("FAILED", 0),
            in_progress=count.get("IN_PROGRESS", 0),
            skipped=count.get("SKIPPED", 0),
            execution_failed=count.get("EXECUTION_FAILED", 0),
            missing=len(known) - sum(count.values()),
        )

    def partition_bar(self, asset: str) -> Filled:
        """The bar of an asset's Partitions tab."""
        told = self.ask(ASSET_PARTITIONS, {"assetKey": {"path": asset.split("/")}})
        node = _wanted(told["assetNodeOrError"], "AssetNode")
        known = [key for dimension in node["partitionKeysByDimension"] for key in dimension["partitionKeys"]]
        held: dict[str, set[str]] = {}
        for found in node["assetPartitionStatuses"]["ranges"]:
            days = (key for key in known if found["startKey"] <= key <= found["endKey"])
            held.setdefault(found["status"], set()).update(days)
        return Filled(
            materialized=frozenset(held.get("MATERIALIZED", ())),
            failed=frozenset(held.get("FAILED", ())),
            in_progress=frozenset(held.get("MATERIALIZING", ())),
            known=tuple(known),
        )

    def badges(self, assets: Sequence[str]) -> dict[str, dict[str, Any]]:
        """What the lineage's boxes and the catalogue show: numbers of days, the newest record of each check."""
        told = self.ask(ASSET_BADGES, {"assetKeys": [{"path": asset.split("/")} for asset in assets]})
        latest = {"/".join(found["assetKey"]["path"]): found for found in told["assetsLatestInfo"]}
        return {
            (asset := "/".join(node["assetKey"]["path"])): {
                **node["partitionStats"],
                "checks": {
                    check["name"]: (check["executionForLatestMaterialization"] or {}).get("status")
                    for check in node["assetChecksOrError"].get("checks", ())
                },
                "latest_run": (latest.get(asset) or {}).get("latestRun"),
            }
            for node in told["assetNodes"]
        }

    def day_detail(self, asset: str, day: str) -> dict[str, Any]:
        """What the first click on a day shows: its latest run and its events, the newest first."""
        told = self.ask(DAY_DETAIL, {"assetKey": {"path": asset.split("/")}, "partitionKey": day})
        held = _wanted(told["assetOrError"], "Asset")
        return {**held["definition"], "events": held["assetEventHistory"]["results"]}

    def newest_days(self, asset: str, limit: int = 120) -> list[str]:
        """The days that Metadata → Plots → Partitions asks for, the newest first."""
        told = self.ask(NEWEST_DAYS, {"assetKey": {"path": asset.split("/")}, "limit": limit})
        return list(_wanted(told["assetNodeOrError"], "AssetNode")["partitionKeyConnection"]["results"])

    def plotted(self, asset: str, limit: int = 120) -> dict[str, dict[str, float]]:
        """The numbers that Metadata → Plots → Partitions draws: by their label, then by day."""
        days = self.newest_days(asset, limit)
        told = self.ask(PLOTTED, {"assetKey": {"path": asset.split("/")}, "partitions": days})
        lines: dict[str, dict[str, float]] = {}
        for event in _wanted(told["assetNodeOrError"], "AssetNode")["latestMaterializationByPartition"]:
            for entry in (event or {}).get("metadataEntries", ()):
                value = entry.get("floatValue", entry.get("intValue"))
                if value is not None:
                    lines.setdefault(entry["label"], {})[event["partition"]] = value
        return lines

    # Waiting.

    def ended_run(self, run: str, patience_s: float = PATIENCE_S) -> dict[str, Any]:
        """A run once it has ended."""
        self.until(f"the end of run {run}", lambda: self.run(run)["status"] in RUN_ENDED, patience_s)
        return self.run(run)

    def ended_backfill(self, backfill: str, patience_s: float = PATIENCE_S) -> dict[str, Any]:
        """A backfill once it has ended."""
        self.until(
            f"the end of backfill {backfill}", lambda: self.backfill(backfill)["status"] in BACKFILL_ENDED, patience_s
        )
        return self.backfill(backfill)

    def at_rest(self, ticks: int = 1, patience_s: float = PATIENCE_S) -> None:
        """Waits until nothing runs or waits, and each sensor has since looked `ticks` times and started nothing."""
        deadline = time.monotonic() + patience_s
        while True:
            self.until("an end of all runs", self._idle, deadline - time.monotonic())
            before, since = self._launched(), time.time()
            self.until("further looks of the sensors", self._looked(before, since, ticks), deadline - time.monotonic())
            if self._launched() == before and self._idle():
                return

    def until(self, what: str, happened: Callable[[], bool], patience_s: float = PATIENCE_S) -> None:
        """Waits for a condition; TimeoutError with the logs when it does not come true."""
        deadline = time.monotonic() + patience_s
        while not happened():
            self.processes.alive()
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what} did not happen in {patience_s:.0f} s:\n{self.processes.tails()}")
            time.sleep(POLL_S)

    def ask(self, query: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The data of a GraphQL answer."""
        body = json.dumps({"query": query, "variables": dict(variables or {})}).encode()
        request = urllib.request.Request(f"{self.url}/graphql", body, {"content-type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
                told = json.load(answer)
        except urllib.error.HTTPError as refused:
            # Dagster answers some errors with status 500 and the same body.
            told = json.load(refused)
        if told.get("errors"):
            raise GraphQLError("; ".join(error["message"] for error in told["errors"]))
        return dict(told["data"])

    def _of_day(self, keys: Sequence[Mapping[str, Any]], day: str, job: str) -> dict[str, str]:
        asked = {
            "repositoryName": REPOSITORY,
            "repositoryLocationName": LOCATION,
            "jobName": job,
            "partitionName": day,
            "assetKeys": keys,
        }
        partition = _wanted(self.ask(TAGS_OF_DAY, asked)["pipelineOrError"], "Pipeline")["partition"]
        if partition is None:
            raise GraphQLError(f"{day} is no partition of the chosen assets")
        tags = _wanted(partition["tagsOrError"], "PartitionTags")["results"]
        return {tag["key"]: tag["value"] for tag in tags}

    def _checks_of(self, keys: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        nodes = self.ask(CHECKS_OF, {"assetKeys": list(keys)})["assetNodes"]
        return [
            {"name": check["name"], "assetKey": {"path": node["assetKey"]["path"]}}
            for node in nodes
            for check in node["assetChecksOrError"].get("checks", ())
        ]

    def _idle(self) -> bool:
        return all(run["status"] in RUN_ENDED for run in self.runs()) and all(
            backfill["status"] in BACKFILL_ENDED for backfill in self.backfills()
        )

    def _launched(self) -> set[str]:
        return {run["id"] for run in self.runs()} | {backfill["id"] for backfill in self.backfills()}

    def _looked(self, before: set[str], since: float, ticks: int) -> Callable[[], bool]:
        return lambda: self._launched() != before or all(held >= ticks for held in self.ticks(since).values())

    def ticks(self, since: float = 0.0) -> dict[str, int]:
        """How often each running sensor has looked, from beginning to end, since an instant; 10 at most."""
        told = self.ask(SENSORS, {"repository": {"repositoryName": REPOSITORY, "repositoryLocationName": LOCATION}})
        states = {
            sensor["name"]: sensor["sensorState"] for sensor in _wanted(told["sensorsOrError"], "Sensors")["results"]
        }
        return {
            name: sum(tick["status"] != "STARTED" and tick["timestamp"] >= since for tick in state["ticks"])
            for name, state in states.items()
            if state["status"] == "RUNNING"
        }


def _wanted(told: Mapping[str, Any] | None, kind: str) -> dict[str, Any]:
    if told is None or told.get("__typename") != kind:
        raise GraphQLError(f"wanted {kind}, came {json.dumps(told)[:3000]}")
    return dict(told)


@contextmanager
def served(home: Path, logs: Path, module: str = SHORT) -> Iterator[UiSession]:
    """A session over the home, with the catalogue of `module`; everything is ended with it.

    Sensors have looked once when it begins: what lies in the home by then is history to them.
    """
    logs.mkdir(parents=True, exist_ok=True)
    session = UiSession(Processes(home, logs, module, free_port()))
    try:
        session.processes.start()
        session.until("an answer of the web server", lambda: answers(session.url), START_S)
        session.until("the sensors' first look", lambda: all(session.ticks().values()), START_S)
        yield session
    finally:
        session.processes.end()


def answers(url: str) -> bool:
    """Whether a web server answers there."""
    try:
        with urllib.request.urlopen(f"{url}/server_info", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return False


RUN_ENDED = ("SUCCESS", "FAILURE", "CANCELED")
BACKFILL_ENDED = ("COMPLETED", "COMPLETED_SUCCESS", "COMPLETED_FAILED", "FAILED", "CANCELED")

# The operations are the UI's (names and variables), the fields those that are looked at.
ERROR = "... on PythonError { message stack }"
LAUNCH_RUN = f"""
mutation LaunchPipelineExecution($executionParams: ExecutionParams!) {{
  launchPipelineExecution(executionParams: $executionParams) {{
    __typename
    ... on LaunchRunSuccess {{ run {{ id pipelineName }} }}
    ... on PipelineNotFoundError {{ message }}
    ... on InvalidSubsetError {{ message }}
    ... on RunConfigValidationInvalid {{ errors {{ message }} }}
    {ERROR}
  }}
}}"""
LAUNCH_BACKFILL = f"""
mutation LaunchPartitionBackfill($backfillParams: LaunchBackfillParams!) {{
  launchPartitionBackfill(backfillParams: $backfillParams) {{
    __typename
    ... on LaunchBackfillSuccess {{ backfillId }}
    ... on PartitionKeysNotFoundError {{ message }}
    ... on RunConfigValidationInvalid {{ errors {{ message path reason }} }}
    {ERROR}
  }}
}}"""
REEXECUTE_RUN = f"""
mutation LaunchPipelineReexecution($executionParams: ExecutionParams, $reexecutionParams: ReexecutionParams) {{
  launchPipelineReexecution(executionParams: $executionParams, reexecutionParams: $reexecutionParams) {{
    __typename
    ... on LaunchRunSuccess {{ run {{ id pipelineName rootRunId parentRunId }} }}
    ... on RunConfigValidationInvalid {{ errors {{ message }} }}
    {ERROR}
  }}
}}"""
TERMINATE_RUNS = f"""
mutation Terminate($runIds: [String!]!, $terminatePolicy: TerminateRunPolicy) {{
  terminateRuns(runIds: $runIds, terminatePolicy: $terminatePolicy) {{
    __typename
    ... on TerminateRunsResult {{ terminateRunResults {{ __typename ... on TerminateRunFailure {{ message }} }} }}
    {ERROR}
  }}
}}"""
CANCEL_BACKFILL = f"""
mutation CancelBackfill($backfillId: String!) {{
  cancelPartitionBackfill(backfillId: $backfillId) {{
    __typename
    ... on CancelBackfillSuccess {{ backfillId }}
    {ERROR}
  }}
}}"""
TAGS_OF_DAY = f"""
query ConfigPartitionForAssetJobQuery($repositoryName: String!, $repositoryLocationName: String!, $jobName: String!,
                                      $partitionName: String!, $assetKeys: [AssetKeyInput!]!) {{
  pipelineOrError(params: {{pipelineName: $jobName, repositoryName: $repositoryName,
                           repositoryLocationName: $repositoryLocationName}}) {{
    __typename
    ... on Pipeline {{
      partition(partitionName: $partitionName, selectedAssetKeys: $assetKeys) {{
        name
        runConfigOrError {{ __typename ... on PartitionRunConfig {{ yaml }} {ERROR} }}
        tagsOrError {{ __typename ... on PartitionTags {{ results {{ key value }} }} {ERROR} }}
      }}
    }}
  }}
}}"""
CHECKS_OF = """
query LaunchAssetLoaderQuery($assetKeys: [AssetKeyInput!]!) {
  assetNodes(assetKeys: $assetKeys) {
    assetKey { path }
    assetChecksOrError { ... on AssetChecks { checks { name } } }
  }
}"""
RUN = f"""
query RunRootQuery($runId: ID!) {{
  runOrError(runId: $runId) {{
    __typename
    ... on Run {{ id status pipelineName tags {{ key value }} assetSelection {{ path }} }}
    {ERROR}
  }}
}}"""
RUNS = f"""
query RunsFeedRootQuery {{
  runsOrError {{
    __typename
    ... on Runs {{
      results {{
        id status pipelineName tags {{ key value }} assetSelection {{ path }}
        repositoryOrigin {{ repositoryLocationName }}
      }}
    }}
    {ERROR}
  }}
}}"""
BACKFILL = f"""
query BackfillDetailsQuery($backfillId: String!) {{
  partitionBackfillOrError(backfillId: $backfillId) {{
    __typename
    ... on PartitionBackfill {{
      id status title user numPartitions partitionNames tags {{ key value }}
      error {{ message }}
      assetBackfillData {{
        assetBackfillStatuses {{
          ... on AssetPartitionsStatusCounts {{
            assetKey {{ path }} numPartitionsTargeted numPartitionsInProgress numPartitionsMaterialized
            numPartitionsFailed
          }}
        }}
      }}
    }}
    {ERROR}
  }}
}}"""
BACKFILLS = f"""
query RunsFeedRootQuery {{
  partitionBackfillsOrError {{
    __typename
    ... on PartitionBackfills {{ results {{ id status title user tags {{ key value }} }} }}
    {ERROR}
  }}
}}"""
CHECK_PARTITIONS = """
query AssetCheckPartitionHealthQuery($assetKey: AssetKeyInput!, $checkName: String!) {
  assetNodeOrError(assetKey: $assetKey) {
    __typename
    ... on AssetNode {
      assetCheckOrError(checkName: $checkName) {
        __typename
        ... on AssetCheck {
          partitionKeysByDimension { partitionKeys }
          partitionStatuses { ... on AssetCheckTimePartitionStatuses { ranges { startKey endKey status } } }
        }
      }
    }
  }
}"""
ASSET_PARTITIONS = """
query PartitionHealthQuery($assetKey: AssetKeyInput!) {
  assetNodeOrError(assetKey: $assetKey) {
    __typename
    ... on AssetNode {
      partitionKeysByDimension { partitionKeys }
      assetPartitionStatuses { ... on TimePartitionStatuses { ranges { status startKey endKey } } }
    }
  }
}"""
ASSET_BADGES = """
query AssetGraphLiveQuery($assetKeys: [AssetKeyInput!]!) {
  assetNodes(assetKeys: $assetKeys, loadMaterializations: true) {
    assetKey { path }
    partitionStats { numMaterialized numMaterializing numPartitions numFailed }
    assetChecksOrError {
      ... on AssetChecks { checks { name executionForLatestMaterialization { status evaluation { severity } } } }
    }
  }
  assetsLatestInfo(assetKeys: $assetKeys) { assetKey { path } latestRun { id status } }
}"""
NEWEST_DAYS = """
query LatestAssetPartitionsQuery($assetKey: AssetKeyInput!, $limit: Int!) {
  assetNodeOrError(assetKey: $assetKey) {
    __typename
    ... on AssetNode { partitionKeyConnection(limit: $limit, ascending: false) { results } }
  }
}"""
METADATA = """
  label description
  ... on TextMetadataEntry { text }
  ... on MarkdownMetadataEntry { mdStr }
  ... on FloatMetadataEntry { floatValue }
  ... on IntMetadataEntry { intValue }
"""
DAY_DETAIL = f"""
query AssetPartitionDetailQuery($assetKey: AssetKeyInput!, $partitionKey: String!) {{
  assetOrError(assetKey: $assetKey) {{
    __typename
    ... on Asset {{
      definition {{ latestRunForPartition(partition: $partitionKey) {{ id status }} }}
      assetEventHistory(partitions: [$partitionKey], limit: 1000,
                        eventTypeSelectors: [MATERIALIZATION, OBSERVATION, FAILED_TO_MATERIALIZE]) {{
        results {{
          __typename
          ... on MaterializationEvent {{ runId description metadataEntries {{ {METADATA} }} }}
          ... on ObservationEvent {{ runId description metadataEntries {{ {METADATA} }} }}
          ... on FailedToMaterializeEvent {{ runId description metadataEntries {{ {METADATA} }} }}
        }}
      }}
    }}
  }}
}}"""
PLOTTED = f"""
query AssetPartitionEventsQuery($assetKey: AssetKeyInput!, $partitions: [String!]!) {{
  assetNodeOrError(assetKey: $assetKey) {{
    __typename
    ... on AssetNode {{
      latestMaterializationByPartition(partitions: $partitions) {{ partition metadataEntries {{ {METADATA} }} }}
    }}
  }}
}}"""
SENSORS = f"""
query SensorStateQuery($repository: RepositorySelector!) {{
  sensorsOrError(repositorySelector: $repository) {{
    __typename
    ... on Sensors {{ results {{ name sensorState {{ status ticks(limit: 10) {{ timestamp status }} }} }} }}
    {ERROR}
  }}
}}"""
GRAPH = """
query AssetGraphQuery {
  assetNodes { assetKey { path } dependencyKeys { path } isMaterializable }
}"""
