"""When something breaks: the agent's doing and ours are told apart, and neither passes for the other."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from starlette.responses import PlainTextResponse, Response

from compliance.engines import Overall, Progress, Report, Verdict
from compliance.engines.http.egress import Guard
from compliance.engines.http.proxy import EgressProxy, ProxyLimits
from compliance.engines.http.redaction import Redactor
from compliance.engines.process import node_runtime
from compliance.engines.process.node_runtime import node
from compliance.engines.reports.model import CONNECTIVITY
from compliance.engines.reports.validation import accepted
from compliance.engines.suites.adcp import AdcpEngine, engine
from compliance.engines.suites.adcp.outcome import RunnerOutput
from compliance.engines.suites.adcp.reporting import report_of
from tests.compliance.engines.servers import serving, step
from tests.compliance.engines.suites.adcp.agents import CAPABILITIES, SIGNALS_TOKEN, Scripted, check, signals, target
from tests.processes import closed_port

pytestmark = pytest.mark.processes


def failed(report: Report) -> set[str]:
    return {f"{scenario.key}/{step.key}" for _, scenario, step in report.steps() if step.verdict is Verdict.FAILED}


def kill(belongs: Callable[[list[str]], bool]) -> None:
    """Kill the processes of this test whose command line says so."""
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if belongs(process.cmdline()):
                process.kill()


async def test_an_agent_that_nobody_listens_for_fails_connectivity() -> None:  # R7
    with closed_port() as port:
        report = await check(f"http://127.0.0.1:{port}/mcp")

    assert [track.key for track in report.tracks] == [CONNECTIVITY]
    assert report.overall() is Overall.FAILING
    assert "No connection could be made" in step(report, "connectivity/reach", "reachable").actual
    assert report.observations["official_status"] == "unreachable"


async def test_an_agent_that_answers_garbage_fails_connectivity() -> None:  # R7
    async with serving(PlainTextResponse("<h1>hello</h1>")) as url:
        report = await check(f"{url}/mcp")

    assert report.overall() is Overall.FAILING
    assert failed(report) == {"connectivity/reach/speaks"}
    assert report.harness_error == ""


async def test_a_refused_address_is_our_rule_and_starts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:  # V7
    monkeypatch.setattr(engine, "run_process", None)  # would break the run if it were called
    report = await check("http://127.0.0.1:9/mcp", allow=())

    assert report.refused
    assert report.harness_error.startswith("Assay does not test this address")
    assert report.overall() is Overall.INCONCLUSIVE
    assert [notice.code for notice in report.notices] == ["refused"]  # by which the run's page knows that it was us


def test_an_agent_that_leads_to_hundreds_of_places_is_still_judged() -> None:  # R7, V7
    proxy = EgressProxy(Guard(), "run", ProxyLimits(1.0))
    proxy.refusals = {("127.0.0.2", port): f"address not allowed: 127.0.0.2 port {port}" for port in range(1, 1000)}
    asked = target("http://127.0.0.1:9/mcp")
    report = report_of(
        asked,
        RunnerOutput(str, None),
        Redactor([], 1000),
        engine=("adcp", "1"),
        runtime={},
        full=True,
        finished=None,
        proxy=proxy,
        harness_error="",
        refused=False,
        seconds=1.0,
    )

    (notice,) = report.notices
    assert notice.code == "led_astray"  # "refused" would tell the reader that nothing was tested
    assert not accepted(report, engine="adcp", suite="adcp").refused


async def test_an_agent_that_dies_in_the_middle_fails_and_the_harness_does_not(tmp_path: Path) -> None:  # R7
    seen: list[Progress] = []

    def kill_the_agent(progress: Progress) -> None:
        seen.append(progress)
        if progress.done > 5:
            kill(lambda command: any(str(tmp_path) in part for part in command))

    with signals(tmp_path) as url:
        report = await AdcpEngine().run(target(url, token=SIGNALS_TOKEN), on_step=kill_the_agent)

    assert (report.harness_error, report.truncated) == ("", False)
    assert report.counts()["passed"] > 0
    assert len(failed(report)) > 5
    assert report.overall() is Overall.PARTIAL
    assert [p.done for p in seen] == sorted(p.done for p in seen)
    assert any("Discover agent capabilities" in p.step for p in seen)


async def test_a_killed_runner_is_inconclusive_and_keeps_what_was_seen() -> None:  # R7
    def kill_the_runner(progress: Progress) -> None:
        if progress.done > 2:
            kill(lambda command: command[:1] == [os.fspath(node())])

    async with serving(Scripted()) as url:
        report = await AdcpEngine().run(target(f"{url}/mcp"), on_step=kill_the_runner)

    assert report.harness_error == "The official runner ended without a result (signal 9)"
    assert report.overall() is Overall.INCONCLUSIVE
    assert report.counts()["passed"] >= 2
    assert report.counts()["not_tested"] > 50


async def test_an_agent_that_hangs_is_cut_off_at_the_deadline() -> None:  # R7
    asked = asyncio.Event()

    async def hang(arguments: dict[str, Any], headers: dict[str, str]) -> Any:
        if "context" in arguments:  # not while its capabilities are looked up, but in the storyboards
            asked.set()
            await asyncio.Event().wait()
        return CAPABILITIES

    async with serving(Scripted(get_adcp_capabilities=hang)) as url:
        run = asyncio.create_task(check(f"{url}/mcp", deadline=8.0))
        await asked.wait()
        report = await run

    assert (report.truncated, report.harness_error) == (True, "")
    assert report.overall() is Overall.INCONCLUSIVE
    assert report.counts()["failed"] == 0
    assert report.counts()["not_tested"] > 50


async def test_a_cancelled_run_leaves_no_process() -> None:
    async with serving(Scripted()) as url:
        started = asyncio.Event()
        run = asyncio.create_task(AdcpEngine().run(target(f"{url}/mcp"), on_step=lambda _: started.set()))
        await started.wait()
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run

    assert not [p for p in psutil.Process().children(recursive=True) if os.fspath(engine._DRIVER) in p.cmdline()]


@pytest.mark.parametrize(
    ("prints", "words"),
    [
        ("process.stdout.write('no JSON\\n')", "printed something that is not its result"),
        ('process.stdout.write(\'{"at": "elsewhere"}\\n\')', "printed something that is not its result"),
        ("process.exit(7)", "ended without a result (exit code 7)"),
        ("const all = []; for (;;) all.push(new Array(1e5).fill({}))", "memory"),
        ("setInterval(() => {}, 1000)", ""),
    ],
    ids=["no JSON", "unknown words", "exit code", "memory", "deadline"],
)
async def test_a_runner_that_breaks_is_never_the_agents_fault(  # R7
    prints: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = tmp_path / "driver.cjs"
    driver.write_text(prints)
    monkeypatch.setattr(engine, "_DRIVER", driver)
    async with serving(Scripted()) as url:
        report = await check(f"{url}/mcp", deadline=60.0 if words else 3.0)

    assert words in report.harness_error
    assert report.truncated is not bool(words)
    assert report.overall() is Overall.INCONCLUSIVE


async def test_a_missing_package_is_said_and_offers_no_suites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_runtime, "MODULES", tmp_path)
    node_runtime.package.cache_clear()
    try:
        report = await check("http://127.0.0.1:9/mcp")
        health, suites, version = AdcpEngine().health(), AdcpEngine().suites(), AdcpEngine().version
    finally:
        node_runtime.package.cache_clear()

    assert not health.available
    assert "scripts/install" in health.reason
    assert (suites, version) == ((), "1.0")
    assert "@adcp/sdk is not installed" in report.harness_error
    assert report.overall() is Overall.INCONCLUSIVE


async def test_an_agent_that_wants_a_credential_is_locked_and_not_failing(tmp_path: Path) -> None:
    with signals(tmp_path) as url:
        locked = await check(url)
        wrong = await check(url, token="another-token-than-it-wants")

    assert locked.locked
    assert failed(locked) == set()
    assert locked.overall() is Overall.INCONCLUSIVE
    assert not wrong.locked
    assert "security/credential/accepted" in failed(wrong)
    [refused] = [step for _, _, step in wrong.steps() if step.key == "accepted"]
    assert refused.evidence is not None
    assert refused.evidence.response["status"] == 401
    assert wrong.overall() is Overall.INCONCLUSIVE  # the secret was ours to supply
    assert "The agent refused the credential (HTTP 401)" in wrong.headline()
    assert "another-token" not in json.dumps(wrong.tracks_json())


async def test_an_agent_that_takes_the_credential_and_is_broken_gets_no_excuse_from_its_door() -> None:  # R7
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        headers = dict(scope.get("headers") or ())
        status = 500 if headers.get(b"authorization") == b"Bearer right-token" else 401
        await Response("unauthorized", status_code=status)(scope, receive, send)

    async with serving(broken) as url:
        report = await check(f"{url}/mcp", token="right-token")

    assert not report.refused
    assert report.counts()["passed"] == 0
    # Another track kept silent: the official runner calls that partial, and so does Assay (E11).
    assert report.overall() == report.observations["official_status"] == "partial"


async def test_capabilities_that_contradict_themselves_are_the_agents_fault() -> None:
    broken = {**CAPABILITIES, "specialisms": ["sales-guaranteed"]}
    async with serving(Scripted(get_adcp_capabilities=lambda arguments, headers: broken)) as url:
        report = await check(f"{url}/mcp")

    assert failed(report) == {"capabilities/declared/declared"}
    assert report.overall() is Overall.FAILING


async def test_a_run_goes_on_with_the_storyboard_before_which_the_last_one_was_cut_off() -> None:  # Q2
    async def titles(**options: Any) -> tuple[list[str], Report]:
        seen: list[str] = []
        async with serving(Scripted()) as url:
            asked = target(f"{url}/mcp", options=options)
            report = await AdcpEngine().run(asked, on_step=lambda progress: seen.append(progress.step.split(": ")[0]))
        return list(dict.fromkeys(seen)), report

    order, report = await titles()
    keys = {scenario.title.split(": ")[0]: scenario.key for track in report.tracks for scenario in track.scenarios}
    third = next(key for title, key in keys.items() if title == order[2])
    rotated, _ = await titles(begin_at=third)
    assert len(order) > 3
    assert rotated == order[2:] + order[:2]
