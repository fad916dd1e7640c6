"""What Assay stores of a run is what the official command prints of the same agent, key by key."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from compliance.engines import Overall, Report, Verdict
from compliance.engines.report import Step

from ..servers import serving
from .agents import SIGNALS_TOKEN, Scripted, check, official, official_beside, seller, signals

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


async def test_a_seller_with_faults_gets_what_the_official_command_prints(tmp_path: Path) -> None:  # R6, R12
    # Each run meets a fresh agent: this one counts requests.
    with seller(tmp_path) as url:
        printed, summary, code = official(url, tmp_path)
    with seller(tmp_path) as url:
        report = await check(url)

    assert code == 0  # with failed steps: why nobody may go by it
    assert summary["failed"] > 20
    compare(report, printed, summary)
    keys = {scenario.key for track in report.tracks for scenario in track.scenarios}
    # A storyboard whose own id holds a slash.
    assert any(key.startswith("media_buy_seller/refine_products/") for key in keys)
    assert report.full


@pytest.fixture(scope="module")
def signals_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with signals(tmp_path_factory.mktemp("signals")) as url:
        yield url


async def test_a_signals_agent_behind_a_token_gets_what_the_official_command_prints(
    signals_url: str, tmp_path: Path
) -> None:
    printed, summary, _ = official(signals_url, tmp_path, token=SIGNALS_TOKEN)
    report = await check(signals_url, token=SIGNALS_TOKEN)

    assert summary["passed"] > 5
    compare(report, printed, summary)
    assert report.observations["server_name"] == "hello-signals-adapter-marketplace"
    assert "activate_signal" in report.observations["tool_names"]
    assert report.observations["adcp_protocols"].startswith("signals")
    assert not report.locked


@pytest.mark.parametrize(
    ("suite", "arguments"),
    [
        ("adcp-specialism-signal-marketplace", ("signal-marketplace",)),
        ("adcp-storyboard-signal-marketplace-governance-denied", ("signal_marketplace/governance_denied",)),
        ("adcp-universal-schema-validation", ("schema-validation",)),
    ],
)
async def test_a_part_is_run_alone_and_never_counts_as_the_whole(  # R10
    signals_url: str, tmp_path: Path, suite: str, arguments: tuple[str, ...]
) -> None:
    printed, summary, _ = official(signals_url, tmp_path, *arguments, token=SIGNALS_TOKEN)
    report = await check(signals_url, token=SIGNALS_TOKEN, suite=suite)

    compare(report, printed, summary)
    assert not report.full


async def test_chosen_scenarios_run_their_storyboards_only_and_are_no_whole(signals_url: str) -> None:  # R10, R12
    chosen = ["signal_marketplace/governance_denied/missing_tool", "signals_baseline/discovery"]
    report = await check(signals_url, token=SIGNALS_TOKEN, options={"scenarios": chosen})

    storyboards = {scenario.key.rpartition("/")[0] for track in report.tracks for scenario in track.scenarios}
    assert storyboards == {"signal_marketplace/governance_denied", "signals_baseline"}
    assert not report.full


async def test_a_track_that_the_official_runner_calls_silent_is_silent_and_no_worse(tmp_path: Path) -> None:  # R6
    async with serving(Scripted()) as url:
        printed, summary, _ = await official_beside(f"{url}/mcp", tmp_path, "capability-discovery")
        report = await check(f"{url}/mcp", suite="adcp-universal-capability-discovery")

    assert [(track["track"], track["status"]) for track in printed["tracks"]] == [("core", "silent")]
    compare(report, printed, summary)
    assert report.counts()["silent"] == 1
    assert report.overall() is Overall.PASSING
