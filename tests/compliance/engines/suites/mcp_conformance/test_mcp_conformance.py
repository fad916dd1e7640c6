"""The conformance engine at the edges: what it does when the agent, the address or the harness fails."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from compliance.engines import Limits, Overall, Progress, Target, Verdict, get_engine
from compliance.engines.contract import NOT_REACHED, Credential
from compliance.engines.process import node_runtime
from compliance.engines.reports.model import CONNECTIVITY
from compliance.engines.suites.mcp_conformance import ConformanceEngine
from tests.compliance.engines.servers import bound, says, scripted, serving
from tests.compliance.engines.servers import raw as raw_server
from tests.compliance.engines.suites.mcp_conformance.runs import DECLARED, FIXTURE, conform, verdicts

pytestmark = pytest.mark.processes

SECRET = "k3y/with+odd chars"
ONE = {"scenarios": ["ping"]}
STREAMS = {"scenarios": ["server-sse-multiple-streams"]}  # asks past the SDK, which follows no redirect elsewhere


def _with_session(message: dict[str, Any]) -> Response:
    result = {
        "protocolVersion": "2025-11-25",
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "scripted", "version": "1"},
    }
    body = {"jsonrpc": "2.0", "id": message["id"], "result": result}
    return JSONResponse(body, headers={"Mcp-Session-Id": "one"})


# Which runs may move a status


async def test_only_the_whole_suite_of_declared_capabilities_is_full() -> None:  # R10
    async with serving(scripted()) as base:
        whole = await conform(f"{base}/mcp")
        part = await conform(f"{base}/mcp", options=ONE)
        fixture = await conform(f"{base}/mcp", FIXTURE, options=ONE)

    assert (whole.full, part.full, fixture.full) == (True, False, False)
    suites = {suite.slug: suite for suite in get_engine("mcp-conformance").suites()}
    assert (suites[DECLARED].full, suites[FIXTURE].full) == (True, False)
    assert "test_simple_text" in suites[FIXTURE].requires["tools"]


async def test_what_is_not_declared_does_not_apply_and_what_needs_a_fixture_is_not_asked() -> None:  # R6
    async with serving(scripted()) as base:
        report = await conform(f"{base}/mcp")

    for scenario in ("resources-list", "prompts-list", "logging-set-level"):
        assert set(verdicts(report, scenario).values()) == {Verdict.NOT_APPLICABLE}
    assert not verdicts(report, "tools-call-simple-text")
    assert report.counts()["not_applicable"] == 3


async def test_progress_is_told_scenario_by_scenario() -> None:
    told: list[Progress] = []
    async with serving(scripted()) as base:
        target = Target(f"{base}/mcp", suite=DECLARED, allow=("127.0.0.1",), deadline=30)
        await ConformanceEngine().run(target, on_step=told.append)

    assert [p.done for p in told] == list(range(len(told)))
    assert {p.total for p in told} == {len(told)}
    assert told[0].step == "Opening a session"


# The agent


async def test_an_agent_that_is_not_there_fails_by_its_connectivity() -> None:
    with bound() as sock:
        report = await conform(f"http://127.0.0.1:{sock.getsockname()[1]}/mcp")

    assert report.overall() is Overall.FAILING
    assert [t.key for t, _, s in report.steps() if s.verdict is Verdict.FAILED] == [CONNECTIVITY]
    assert "nothing listens" in next(s.actual for _, _, s in report.steps() if s.verdict is Verdict.FAILED)
    assert set(verdicts(report, "ping").values()) == {Verdict.SKIPPED}


async def test_an_address_that_is_off_limits_is_refused_and_says_nothing_about_the_agent() -> None:  # V7
    asked = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(1)

    async with raw_server(talk) as url:
        report = await conform(url, allow=())

    assert report.refused
    assert report.overall() is Overall.INCONCLUSIVE
    assert report.harness_error.startswith("Assay does not test this address (address not allowed")
    assert asked == []


async def test_a_redirect_to_an_address_that_is_off_limits_is_not_followed() -> None:  # V7
    asked = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(1)

    async with raw_server(talk) as off_limits:
        port = off_limits.rpartition(":")[2]

        def away(message: dict[str, Any]) -> Response:
            return RedirectResponse(f"http://127.0.0.2:{port}", 307)

        app = scripted(initialize=_with_session, tools_list=away)
        async with serving(app) as base:
            report = await conform(f"{base}/mcp", options=STREAMS, allow=(base.removeprefix("http://"),))

    assert asked == []
    assert verdicts(report, STREAMS["scenarios"][0])["server-sse-multiple-streams-error"] is Verdict.FAILED
    (notice,) = [notice for notice in report.notices if notice.code == "led_astray"]
    assert "127.0.0.2 (loopback)" in notice.message


async def test_something_else_than_an_mcp_server_fails_by_not_speaking_it() -> None:
    async with serving(Starlette(routes=[])) as base:
        report = await conform(f"{base}/mcp")

    assert report.overall() is Overall.FAILING
    assert verdicts(report, "connectivity/reach")["speaks"] is Verdict.FAILED


async def test_without_a_session_what_may_be_declared_is_skipped_and_not_said_to_be_missing() -> None:  # R6
    def refuse(message: dict[str, Any]) -> Response:
        error = {"code": -32603, "message": "not today"}
        return JSONResponse({"jsonrpc": "2.0", "id": message["id"], "error": error})

    async with serving(scripted(initialize=refuse)) as base:
        report = await conform(f"{base}/mcp")

    assert verdicts(report, "server-initialize") == {"server-initialize": Verdict.FAILED}
    assert verdicts(report, "tools-list") == {"tools-list": Verdict.SKIPPED}


async def test_a_server_of_versions_that_the_official_runner_does_not_speak_is_not_blamed() -> None:  # R6
    def newer(message: dict[str, Any]) -> Response:
        error = {"code": -32022, "message": "Unsupported protocol version", "data": {"supported": ["2026-07-28"]}}
        return JSONResponse({"jsonrpc": "2.0", "id": message["id"], "error": error})

    async with serving(scripted(initialize=newer)) as base:
        report = await conform(f"{base}/mcp")

    assert report.counts()["not_applicable"] == sum(report.counts().values())
    assert report.overall() is Overall.INCONCLUSIVE


@pytest.mark.parametrize("held", [None, Credential.bearer("wrong")])
async def test_a_guarded_agent_is_locked_without_a_credential_and_says_that_a_wrong_one_is(held) -> None:  # R7
    async def refuse(message: dict[str, Any]) -> Response:
        return Response(status_code=401, headers={"WWW-Authenticate": "Bearer"})

    async with serving(scripted(initialize=refuse)) as base:
        report = await conform(f"{base}/mcp", credential=held)

    assert report.locked is (held is None)
    assert report.overall() is Overall.INCONCLUSIVE
    assert report.refused is (held is not None)
    if held is not None:
        assert "The agent refused the credential (HTTP 401)" in report.headline()
        assert verdicts(report, "mcp/auth")["accepted"] is Verdict.FAILED
    assert set(verdicts(report, "ping").values()) == {Verdict.SKIPPED}


async def test_an_agent_that_dies_in_the_middle_fails_what_it_did_not_answer() -> None:
    def vanish(message: dict[str, Any]) -> Response:
        return Response(status_code=500)

    async with serving(scripted(ping=vanish)) as base:
        report = await conform(f"{base}/mcp", options=ONE)

    assert verdicts(report, "ping") == {"ping": Verdict.FAILED}
    (ping,) = [step for _, scenario, step in report.steps() if scenario.key == "ping"]
    assert ping.evidence.request["body"]["method"] == "ping"
    assert ping.evidence.response["status"] == 500


async def test_an_answer_without_end_is_cut_and_fails() -> None:
    async def endless(message: dict[str, Any]) -> Response:
        return JSONResponse({"jsonrpc": "2.0", "id": message["id"], "result": {"x": "y" * 300_000}})

    async with serving(scripted(ping=endless)) as base:
        report = await conform(f"{base}/mcp", options=ONE, limits=Limits(response_bytes=100_000))

    (ping,) = [step for _, scenario, step in report.steps() if scenario.key == "ping"]
    assert ping.verdict is Verdict.FAILED
    assert "larger than 100000 bytes" in json.dumps(ping.evidence.response)
    assert len(json.dumps(ping.evidence.response)) < 70_000


# The harness


async def test_a_run_out_of_time_is_truncated_and_keeps_what_was_seen() -> None:  # R7
    async def hang(message: dict[str, Any]) -> Response:
        await asyncio.Event().wait()
        raise AssertionError

    async with serving(scripted(ping=hang)) as base:
        report = await conform(f"{base}/mcp", options={"scenarios": ["server-initialize", "ping"]}, deadline=4)

    assert report.truncated
    assert report.overall() is Overall.INCONCLUSIVE
    assert verdicts(report, "server-initialize") == {"server-initialize": Verdict.PASSED}
    assert verdicts(report, "ping") == {"ping": Verdict.NOT_TESTED}


async def test_a_run_goes_on_where_the_last_one_was_cut_off() -> None:  # Q2
    async def hang(message: dict[str, Any]) -> Response:
        await asyncio.Event().wait()
        raise AssertionError

    asked = {"scenarios": ["server-initialize", "ping"], "begin_at": "ping"}
    async with serving(scripted(ping=hang)) as base:
        report = await conform(f"{base}/mcp", options=asked, deadline=4)

    assert report.truncated
    assert [step.actual for _, scenario, step in report.steps() if scenario.key == "server-initialize"] == [NOT_REACHED]


DRIVERS = {
    "crashes": "process.exit(3)",
    "talks nonsense": "console.log('Segmentation fault')",
    "talks of unknown things": "console.log(JSON.stringify({event: 'scenario', scenario: 'ping', checks: [{id: 1}]}))",
    "dies in the middle": 'console.log(\'{"event": "start", "scenario": "ping"}\'); process.kill(process.pid, 9)',
    "says nothing": "",
}


@pytest.mark.parametrize("source", DRIVERS.values(), ids=DRIVERS.keys())
async def test_a_broken_runner_never_blames_the_agent(source: str, tmp_path: Path) -> None:  # R7
    driver = tmp_path / "driver.mjs"
    driver.write_text(source)
    async with serving(scripted()) as base:
        report = await conform(f"{base}/mcp", engine={"driver": driver})

    assert report.overall() is Overall.INCONCLUSIVE
    assert report.harness_error.startswith("The official runner")
    assert report.counts()["failed"] == 0
    assert set(verdicts(report, "ping").values()) == {Verdict.NOT_TESTED}


async def test_a_runner_that_takes_too_much_memory_is_stopped(tmp_path: Path) -> None:  # R7
    driver = tmp_path / "driver.mjs"
    driver.write_text("const held = []; setInterval(() => held.push(Buffer.alloc(20e6, 1)), 5)")
    async with serving(scripted()) as base:
        report = await conform(f"{base}/mcp", engine={"driver": driver, "memory_mb": 200})

    assert report.overall() is Overall.INCONCLUSIVE
    assert "memory" in report.harness_error


@pytest.fixture
def no_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(node_runtime, "MODULES", tmp_path)
    node_runtime.package.cache_clear()
    yield
    node_runtime.package.cache_clear()


@pytest.mark.usefixtures("no_packages")
async def test_without_the_official_package_the_engine_says_what_is_missing() -> None:  # R7
    async with serving(scripted()) as base:
        report = await conform(f"{base}/mcp")

    engine = get_engine("mcp-conformance")
    assert not engine.health().available
    assert "scripts/install" in engine.health().reason
    assert engine.suites() == ()
    assert report.overall() is Overall.INCONCLUSIVE
    assert "@modelcontextprotocol/conformance" in report.harness_error


# Secrets


def _guarded(seen: list[tuple[str, str | None]], command_lines: set[bytes], elsewhere: str) -> Starlette:
    """A server behind a key, which repeats the key wherever it can and sends some requests away."""

    async def mcp(request: Request) -> Response:
        for line in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                command_lines.add(line.read_bytes())
            except OSError:
                continue  # it ended while we looked
        message = await request.json() if request.method == "POST" else {}
        given = request.headers.get("x-api-key")
        seen.append((message.get("method", request.method), given))
        if given != SECRET:
            return Response(status_code=401, headers={"WWW-Authenticate": "Key"})
        if request.method != "POST":
            return Response(status_code=405)
        if "id" not in message:
            return Response(status_code=202)
        if message["id"] in (1000, 1001, 1002):
            return RedirectResponse(elsewhere, 307)
        if message["method"] == "tools/list":
            error = {"code": -32603, "message": f"You said {given}", "data": {"x-api-key": given}}
            return JSONResponse({"jsonrpc": "2.0", "id": message["id"], "error": error})
        result = {
            "protocolVersion": "2025-11-25",
            "capabilities": {"tools": {}},
            "serverInfo": {"name": f"for {given}", "version": "1"},
        }
        answer = {"jsonrpc": "2.0", "id": message["id"], "result": result if message["method"] == "initialize" else {}}
        return JSONResponse(answer, headers={"Mcp-Session-Id": "one"})

    return Starlette(routes=[Route("/mcp", mcp, methods=["GET", "POST", "DELETE"])])


async def test_the_credential_goes_to_the_agents_origin_alone_and_is_in_no_word_of_the_report() -> None:  # V1
    seen: list[tuple[str, str | None]] = []
    command_lines: set[bytes] = set()
    strange: list[bytes] = []

    async def collect(request: Request) -> Response:
        strange.append(repr(request.headers.raw).encode() + await request.body())
        return Response(status_code=200)

    held = Credential("X-Api-Key", SECRET, (SECRET,), name="ours")
    async with (
        serving(Starlette(routes=[Route("/mcp", collect, methods=["POST"])])) as other,
        serving(_guarded(seen, command_lines, f"{other}/mcp")) as base,
    ):
        report = await conform(f"{base}/mcp", credential=held, all_evidence=True)

    assert {method for method, _ in seen} >= {"initialize", "ping", "tools/list"}
    assert {given for _, given in seen} == {SECRET}
    assert len(strange) == 3
    assert not any(SECRET.encode() in request for request in strange)
    assert not any(SECRET.encode() in line for line in command_lines)
    assert any(b"driver.mjs" in line for line in command_lines)
    evidence = [(s.evidence.request, s.evidence.response) for _, _, s in report.steps() if s.evidence]
    everything = json.dumps([report.tracks_json(), evidence, report.observations, list(map(repr, report.notices))])
    assert "You said [redacted]" in everything
    assert report.observations["server_name"] == "for [redacted]"
    assert SECRET not in everything
    assert json.dumps(SECRET)[1:-1] not in everything


async def test_session_ids_and_cookies_are_not_kept() -> None:  # V1
    async def talkative(message: dict[str, Any]) -> Response:
        body = {"jsonrpc": "2.0", "id": message["id"], "result": {"unexpected": 1, "access_token": "t0psecret"}}
        return JSONResponse(body, headers={"Set-Cookie": "c00kie=1", "Mcp-Session-Id": "s3ssion"})

    async with serving(scripted(ping=talkative)) as base:
        report = await conform(f"{base}/mcp", options=ONE, all_evidence=True)

    (ping,) = [step for _, scenario, step in report.steps() if scenario.key == "ping"]
    kept = json.dumps([ping.evidence.request, ping.evidence.response, ping.actual])
    assert "unexpected" in kept
    assert not any(secret in kept for secret in ("t0psecret", "c00kie", "s3ssion"))


async def test_an_agent_that_breaks_off_every_answer_is_judged_and_not_the_harness() -> None:
    async with raw_server(says(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")) as url:
        report = await conform(url)

    assert report.overall() is Overall.FAILING
    assert report.harness_error == ""
