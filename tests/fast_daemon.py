"""Dagster's own daemon with short intervals, as a process: `python fast_daemon.py -w workspace.yaml`.

What belongs here: the intervals. What does not: anything that changes what the daemon decides.

`dagster dev` looks at sensors every 5 s and each at most every 30 s, takes runs from the queue every 5 s, continues
backfills every 30 s and looks for dead runs every 120 s. A journey of a person would spend minutes in waiting.
"""

import os
import sys

from dagster._core.instance import DagsterInstance
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster._daemon import controller, sensor
from dagster._daemon.auto_run_reexecution.event_log_consumer import EventLogConsumerDaemon
from dagster._daemon.daemon import BackfillDaemon, DagsterDaemon, MonitoringDaemon, SensorDaemon
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon

LOOP_S, MONITORING_S, SENSOR_S = 1, 3, 1
# The seconds after which a run is given up whose process was killed before it began; Dagster's are 300.
START = "FAST_DAEMON_START_S"


def main(workspace: str) -> None:
    """Runs the daemons that these journeys need until the process is ended."""
    # The backfill daemon reads this one when it loops, the sensor daemon the other.
    controller.DEFAULT_DAEMON_INTERVAL_SECONDS = LOOP_S
    sensor.MIN_INTERVAL_LOOP_TIME = LOOP_S
    stock = sensor.is_under_min_interval
    sensor.is_under_min_interval = lambda state, remote, *more: (
        stock(state, remote, *more) and (sensor.get_elapsed(state) or 0) < SENSOR_S
    )
    patience = int(os.environ[START])
    DagsterInstance.run_monitoring_start_timeout_seconds = property(lambda _: patience)
    with (
        DagsterInstance.get() as instance,
        controller.daemon_controller_from_instance(
            instance,
            workspace_load_target=WorkspaceFileTarget([workspace]),
            gen_daemons=_daemons,
            log_format="colored",
        ) as running,
    ):
        running.check_daemon_loop()


def _daemons(instance: DagsterInstance) -> list[DagsterDaemon]:
    return [
        SensorDaemon(settings=instance.get_sensor_settings()),
        BackfillDaemon(settings=instance.get_backfill_settings()),
        QueuedRunCoordinatorDaemon(interval_seconds=LOOP_S),
        EventLogConsumerDaemon(interval_seconds=LOOP_S),
        MonitoringDaemon(interval_seconds=MONITORING_S),
    ]


if __name__ == "__main__":
    main(sys.argv[1])
