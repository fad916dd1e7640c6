"""What Assay stores of a run is what the official command prints of the same agent, key by key."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from compliance.engines import Overall
from tests.compliance.engines.servers import serving
from tests.compliance.engines.suites.adcp.agents import (
    SIGNALS_TOKEN,
    Scripted,
    check,
    official,
    official_beside,
    seller,
    signals,
)
from tests.compliance.engines.suites.adcp.parity import both, compare

pytestmark = pytest.mark.processes


async def test_a_seller_with_faults_gets_what_the_official_command_prints(tmp_path: Path) -> None:  # E11, R6, R12
    # Each runner meets an agent of its own: this one counts requests.
    with seller(tmp_path / "theirs") as theirs, seller(tmp_path / "ours") as ours:
        report, printed, summary, code = await both(theirs, ours, tmp_path)

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
