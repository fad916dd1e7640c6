"""Compares what Assay stores of a run with what the official command prints of the same agent, key by key."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

from compliance.engines import Report, Verdict
from compliance.engines.reports.model import Step
from tests.compliance.engines.suites.adcp.agents import check, official_beside

OURS = "/invariants"  # scenarios that hold what the official runner observes beside its steps


def scenarios(printed: dict[str, Any]) -> dict[str, Counter[str]]:
    """Of each scenario that the command prints, how many steps passed, failed and were skipped."""
    found = {}
    for track in printed["tracks"]:
        for scenario in track["scenarios"]:
            steps = scenario["steps"]
            kinds = ("skipped" if s.get("skipped") else "passed" if s["passed"] else "failed" for s in steps)
            found[scenario["scenario"]] = Counter(kinds)
    return found


def kind(step: Step) -> str:
    if step.verdict in (Verdict.SKIPPED, Verdict.NOT_APPLICABLE):
        return "skipped"
    # A step that failed in an optional phase is among the printed failures, and in no count of them.
    return "failed" if step.verdict is Verdict.SILENT else step.verdict.value


def compare(report: Report, printed: dict[str, Any], summary: dict[str, Any]) -> None:
    assert (report.harness_error, report.truncated) == ("", False)
    counts = report.counts()
    assert counts["passed"] == summary["passed"]
    assert counts["failed"] == summary["failed"]
    assert counts["skipped"] + counts["not_applicable"] == summary["skipped"]
    assert counts["not_tested"] == 0

    stored = {
        s.key: Counter(map(kind, s.steps)) for t in report.tracks for s in t.scenarios if not s.key.endswith(OURS)
    }
    for key, steps in scenarios(printed).items():
        assert stored[key] == steps, key

    failures = {(f["storyboard_id"], f["step_id"]) for f in summary["failures"]}
    assert failures == {
        (scenario.key.rpartition("/")[0], step.key)
        for _, scenario, step in report.steps()
        if kind(step) == "failed" and not scenario.key.endswith(OURS)
    }

    tracks = ", ".join(f"{track['track']} {track['status']}" for track in printed["tracks"])
    assert report.observations.get("official_tracks", "") == tracks
    assert {track["track"]: track["status"] for track in printed["tracks"]} == {
        track.key: status(track.scenarios)
        for track in report.tracks
        if track.key in {t["track"] for t in printed["tracks"]}
    }
    titles = {track["track"]: track["label"] for track in printed["tracks"]}
    assert titles.items() <= {track.key: track.title for track in report.tracks}.items()
    assert report.spec_version == summary["adcp_version"]
    assert report.runtime["@adcp/sdk"] == summary["sdk_version"]


def status(found: Any) -> str:
    """A track's status by the official rule, from the steps that are stored."""
    steps = [step for scenario in found for step in scenario.steps if not scenario.key.endswith(OURS)]
    verdicts = Counter(map(kind, steps))
    failed = sum(step.verdict is Verdict.FAILED for step in steps)
    if failed:
        return "partial" if verdicts["passed"] else "fail"
    if not verdicts["passed"]:
        return "skip"
    return "silent" if any(scenario.key.endswith(OURS) for scenario in found) else "pass"


async def both(
    official_url: str, our_url: str, folder: Path, token: str = ""
) -> tuple[Report, dict[str, Any], dict[str, Any], int]:
    """Our report, and what the official command printed, summed up and exited with. Both at once: much is waiting."""
    report, (printed, summary, code) = await asyncio.gather(
        check(our_url, token=token), official_beside(official_url, folder, token=token)
    )
    return report, printed, summary, code
