"""Where a suite begins whose last run was cut off: with what was not reached then (Q2)."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from compliance.engines.contract import BEGIN_AT, NOT_REACHED
from compliance.jobs.models import Job
from compliance.runs.models import NEWEST_FIRST, ComplianceRun

RESUMING = ("adcp", "mcp-conformance")  # engines whose scenarios may run in any order
_RUNS = 50  # how many of the agent's newest runs are searched for the last one of the suite version


def resumed(job: Job) -> dict[str, Any]:
    """The option that lets the run of this job begin where the last one was cut off; {} for all other jobs.

    The last one: of the same agent and suite version, and of the same organization or of none. Needs its scope.
    """
    if job.suite_version.engine not in RESUMING or job.options.get("scenarios"):
        return {}
    runs = ComplianceRun.objects
    own = runs.own(job.organization_id) if job.organization_id else runs.of_platform()
    newest = own.for_agent(job.agent_id).order_by(*NEWEST_FIRST).values_list("pk", "suite_version_id", "truncated")
    last = next((run for run in newest[:_RUNS] if run[1] == job.suite_version_id), None)
    if last is None or not last[2]:
        return {}
    first = first_not_reached(runs.values_list("tracks_json", flat=True).get(pk=last[0]))
    return {BEGIN_AT: first} if first else {}


def first_not_reached(tracks: list[dict[str, Any]]) -> str:
    """The first scenario that a run did not come to: the one after what it did reach, and "" if there is none.

    A resumed run wraps round, so what it missed may lie at the end of the list and at its start: the next one continues
    at the end.
    """
    reached = [
        (all(step["actual"] == NOT_REACHED for step in scenario["steps"]), scenario["key"])
        for track in tracks
        for scenario in track["scenarios"]
        if scenario["steps"]
    ]
    blocks = [(missed, [key for _, key in block]) for missed, block in groupby(reached, key=lambda each: each[0])]
    missed_blocks = [keys for missed, keys in blocks if missed]
    if not missed_blocks:
        return ""
    from_the_first_on = blocks[0][0] and len(missed_blocks) > 1
    first: str = missed_blocks[1 if from_the_first_on else 0][0]
    return first
