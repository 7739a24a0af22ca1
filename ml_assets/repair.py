"""Computes days anew and, after them, everything that rests on what changed.

What belongs here: the plan carried out, run by run. What does not: the plan (`ml_assets/domain/planning.py`).
"""

from collections.abc import Callable, Sequence

from ml_assets.domain.watch import runs_over
from ml_assets.launch import Launcher, RunReport
from partitions import DayRange
from resources.overview import RECORDED, plan_of, untold_of
from resources.run_tags import spoken

CAUSE = "repair"


def repair(launcher: Launcher, assets: Sequence[str], days: DayRange | None, say: Callable[[str], None]) -> RunReport:
    """What became of every day: those asked for are computed, then the plan is carried out until nothing is left.

    Without assets only the plan is carried out. A run that leaves the plan as it was ends the repair: its days are in
    the report as refused or blocked. What an earlier run wrote and was killed before recording is recorded first.
    """
    tell_what_is_untold(launcher)
    outcomes = {}
    run_id = ""
    if assets and days is not None:
        report = launcher.run(assets, days, cause=CAUSE)
        outcomes |= report.outcomes
        run_id = report.run_id
        say(f"{', '.join(assets)} {spoken(days)}: {'; '.join(report.lines())}")
    before = None
    while True:
        found = plan_of(launcher.lake, launcher.graph)
        if not found.steps or found.steps == before:
            return RunReport(run_id, outcomes)
        before = found.steps
        for run in found.runs():
            report = launcher.run(run.tables, run.days, cause=run.reason, only_stale=True)
            outcomes |= {at: what for at, what in report.outcomes.items() if what[0] != "kept" or at not in outcomes}
            run_id = report.run_id
            say(f"{len(run.tables)} tables {spoken(run.days)}, {run.reason}: {'; '.join(report.lines())}")


def tell_what_is_untold(launcher: Launcher) -> None:
    """Records in Dagster the days that a run wrote before it was killed; none of them is computed again."""
    untold = untold_of(launcher.lake, launcher.graph, launcher.instance)
    for run in runs_over(untold, RECORDED):
        launcher.run(run.tables, run.days, cause=run.reason, only_stale=True)
