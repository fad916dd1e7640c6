"""The official scenarios through Assay say what the official command line says, on servers that others wrote."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from compliance.engines import Overall, Report, Verdict
from tests.compliance.engines.servers import check
from tests.compliance.engines.suites.mcp_conformance.others import DEPRECATED, EVERYTHING, LOCKED, OPEN, Server
from tests.compliance.engines.suites.mcp_conformance.runs import (
    DECLARED,
    FIXTURE,
    codes,
    conform,
    officially,
    verdicts,
)

pytestmark = pytest.mark.processes


def ours(report: Report) -> dict[str, tuple[int, int]]:
    """Passed and failed of each scenario as the official runner counts: with what our rules took away."""
    withdrawn = report.observations.get("withdrawn_passes", [])
    counted: dict[str, tuple[int, int]] = {}
    for _, scenario, step in report.steps():
        passed, failed = counted.get(scenario.key, (0, 0))
        passed += step.verdict is Verdict.PASSED or f"{scenario.key}/{step.key}" in withdrawn
        counted[scenario.key] = (passed, failed + (step.verdict is Verdict.FAILED))
    return counted


@pytest.mark.parametrize("server", OPEN, ids=lambda server: server.name)
async def test_counts_and_checks_equal_those_of_the_official_command_line(  # E6, E7, E8, E11
    server: Server, tmp_path: Path
) -> None:
    with server.started(tmp_path / "log") as url:
        (printed, written), declared, report, baseline = await asyncio.gather(
            asyncio.to_thread(officially, url, tmp_path / "official"),
            conform(url, DECLARED),
            conform(url, FIXTURE),
            check(url),
        )

    assert len(printed) == 32
    assert ours(report) == printed
    assert sorted(report.observations.get("withdrawn_passes", [])) == sorted(server.withdrawn)
    for name, checks in written.items():
        failed = {key.partition("#")[0] for key, verdict in verdicts(report, name).items() if verdict is Verdict.FAILED}
        assert failed == {key for key, status in checks if status == "FAILURE"}, name
    # The suite for ordinary agents gives the same for each scenario that applies.
    applied = {k: v for k, v in ours(declared).items() if Verdict.NOT_APPLICABLE not in verdicts(declared, k).values()}
    assert applied == {key: printed[key] for key in applied}
    assert len(applied) >= 4
    failing = {key for key, (_, failed) in applied.items() if failed}
    assert failing <= {"dns-rebinding-protection"}  # which those servers really do not have
    assert declared.overall() is (Overall.PARTIAL if failing else Overall.PASSING)
    # What the official runner passes, the baseline does not blame.
    assert baseline.overall() is Overall.PASSING


@pytest.mark.parametrize("server", [*LOCKED, *DEPRECATED], ids=lambda server: server.name)
async def test_locked_and_deprecated_servers_are_inconclusive_where_the_official_runner_fails_all(  # E4, E8, E11
    server: Server, tmp_path: Path
) -> None:
    with server.started(tmp_path / "log") as url:
        (printed, _), declared, baseline = await asyncio.gather(
            asyncio.to_thread(officially, url, tmp_path / "official"), conform(url, DECLARED), check(url)
        )

    passed = {key for key, (good, _) in printed.items() if good}
    assert passed == {"dns-rebinding-protection"}  # a refusal, which is all that these servers say
    for report in (declared, baseline):
        assert report.overall() is Overall.INCONCLUSIVE
        assert report.counts()["failed"] == 0
        assert report.locked is (server in LOCKED)
        assert ("HTTP+SSE" in report.headline()) is (server in DEPRECATED)


async def test_a_server_without_the_fixtures_is_not_blamed_for_it(tmp_path) -> None:  # R6, R10
    with EVERYTHING.started(tmp_path / "log") as url:
        report = await conform(url, all_evidence=True)

    assert report.full
    assert report.overall() is Overall.PARTIAL
    failed = [(s.key, step) for _, s, step in report.steps() if step.verdict is Verdict.FAILED]
    assert [key for key, _ in failed] == ["dns-rebinding-protection"]  # which it really does not have
    assert failed[0][1].evidence.request["headers"]["host"] == "evil.example.com"
    assert failed[0][1].evidence.response["status"] == 200
    assert failed[0][1].spec_url.startswith("https://modelcontextprotocol.io/specification/2025-11-25/")
    assert all(step.evidence for _, _, step in report.steps())
    assert report.observations["server_name"] == "mcp-servers/everything"
    assert report.observations["tools"] == 15
    assert 0 < report.observations["memory_mb"] < 512
    assert report.spec_version == "2025-11-25"
    assert report.runtime["@modelcontextprotocol/conformance"] == "0.1.16"
    assert report.engine_version.endswith("+0.1.16")


async def test_recommendations_that_are_not_followed_are_notices_and_no_failures(tmp_path) -> None:  # R6
    with EVERYTHING.started(tmp_path / "log") as url:
        report = await conform(url, FIXTURE, options={"scenarios": ["server-sse-polling"]})

    assert verdicts(report, "server-sse-polling") == {
        "incoming-sse-event": Verdict.FAILED,
        "server-sse-priming-event": Verdict.SILENT,
        "server-sse-retry-field": Verdict.SILENT,
        "server-sse-disconnect-resume": Verdict.SILENT,
    }
    assert codes(report) == ["warning", "warning"]
