"""Which protocol an agent speaks is found by asking it."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from compliance.engines import Limits, Overall, detect_protocol, get_engine
from tests.agents.odd import mcp
from tests.agents.odd.table import served
from tests.compliance.engines.servers import bound, scripted, serving, target
from tests.compliance.engines.suites.baseline import test_a2a, test_mcp


async def test_mcp_server_is_recognized_with_its_version() -> None:
    async with serving(test_mcp.sdk_server().streamable_http_app()) as url:
        found = await detect_protocol(target(f"{url}/mcp", protocol=""))

    assert (found.protocol, found.protocol_version) == ("mcp", "2025-11-25")
    assert "MCP initialize" in found.reason


async def test_a2a_agent_is_recognized_by_its_card() -> None:
    async with serving(test_a2a.scripted()) as url:
        found = await detect_protocol(target(url, protocol=""))

    assert (found.protocol, found.protocol_version) == ("a2a", "1.0")
    assert "/.well-known/agent-card.json" in found.reason


@pytest.mark.parametrize("path", ["/mcp", "/api"])
async def test_agent_behind_a_token_is_not_guessed_at(path: str) -> None:  # E5
    async with serving(test_mcp.guarded('Bearer resource_metadata="x"')) as url:
        found = await detect_protocol(target(f"{url}{path}", protocol=""))

    assert found.protocol == ""
    if path == "/mcp":
        assert ("401" in found.reason, found.likely) == (True, "mcp")  # what a run tests it as


@pytest.mark.parametrize(
    "app",
    [Starlette(), PlainTextResponse("hello"), Response(status_code=500), Response(status_code=204)],
    ids=["nothing", "text", "error", "empty"],
)
async def test_anything_else_is_not_recognized_and_the_reason_says_what_came(app) -> None:
    async with serving(app) as url:
        found = await detect_protocol(target(url, protocol=""))

    assert found.protocol == ""
    assert "An MCP initialize was answered with status" in found.reason


async def test_agent_that_is_down_is_not_recognized() -> None:
    with bound() as sock:
        found = await detect_protocol(target(f"http://127.0.0.1:{sock.getsockname()[1]}/", protocol=""))

    assert found.protocol == ""
    assert "nothing listens there" in found.reason


async def test_run_without_a_protocol_asks_first() -> None:
    async with serving(scripted()) as server, serving(test_a2a.scripted()) as a2a:
        first = await get_engine("baseline").run(target(f"{server}/mcp", protocol=""))
        second = await get_engine("baseline").run(target(a2a, protocol=""))

    assert (first.protocol, first.overall()) == ("mcp", Overall.PASSING)
    assert (second.protocol, second.overall()) == ("a2a", Overall.PASSING)


async def test_run_against_what_speaks_no_protocol_is_failing() -> None:
    async with serving(PlainTextResponse("hello")) as url:
        report = await get_engine("baseline").run(target(url, protocol=""))

    assert (report.protocol, report.overall()) == ("", Overall.FAILING)
    assert "failed: An MCP initialize was answered with status 200, and the content type is text/" in report.headline()


async def test_run_whose_detection_failed_says_how_long_it_took() -> None:
    async def slow(scope, receive, send):
        await asyncio.sleep(0.2)
        await Response("no", 404)(scope, receive, send)

    async with serving(slow, lifespan="off") as url:
        report = await get_engine("baseline").run(target(url, protocol=""))

    assert report.overall() is Overall.FAILING
    assert report.duration_ms >= 200


@pytest.mark.parametrize("believed", ["mcp", "a2a"])
async def test_run_asks_again_when_the_agent_does_not_speak_what_it_is_believed_to(believed: str) -> None:  # E5
    async with serving(scripted()) as server, serving(test_a2a.scripted()) as a2a:
        url, spoken = (f"{server}/mcp", "mcp") if believed == "a2a" else (a2a, "a2a")
        report = await get_engine("baseline").run(target(url, protocol=believed))

    assert (report.protocol, report.overall()) == (spoken, Overall.PASSING)
    assert report.protocol_version


def _beside(card_or_stream: Any) -> Any:
    """An MCP server for whoever posts, and something else for whoever gets."""
    server = scripted()

    async def agent(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["method"] == "GET":
            await card_or_stream(scope, receive, send)
        else:
            await server(scope | {"path": "/mcp"} if scope["type"] == "http" else scope, receive, send)

    return agent


async def _open_stream(scope: Any, receive: Any, send: Any) -> None:
    headers = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b": hello\n\n", "more_body": True})
    await receive()
    await receive()


async def _silence(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await receive()


def _static_card(*interfaces: dict[str, Any]) -> Any:
    return JSONResponse(test_a2a.CARD | {"supportedInterfaces": list(interfaces)})


DEAD = {"url": "http://127.0.0.1:9/", "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}
GETS = {
    "stream": _open_stream,
    "silence": _silence,
    "dead": _static_card(DEAD),
    "dead-rest": _static_card(DEAD | {"protocolBinding": "HTTP+JSON"}),
    "forbidden": _static_card(DEAD | {"url": "http://10.0.0.1/"}),
    "grpc": _static_card(DEAD | {"protocolBinding": "GRPC"}),
}


@pytest.mark.parametrize("answer", GETS)
async def test_an_mcp_server_is_one_whatever_is_on_record_and_whatever_a_get_answers(answer: str) -> None:  # E5, E6
    async with serving(_beside(GETS[answer]), lifespan="off") as url:
        believed, unknown = [
            await get_engine("baseline").run(target(f"{url}/", protocol=protocol, limits=Limits(step_seconds=1)))
            for protocol in ("a2a", "")
        ]

    assert (believed.protocol, believed.overall()) == ("mcp", Overall.PASSING), believed.headline()
    assert (unknown.protocol, unknown.overall()) == ("mcp", Overall.PASSING)
    assert [step.verdict for *_, step in believed.steps()] == [step.verdict for *_, step in unknown.steps()]


@pytest.mark.parametrize(("engine", "suite"), [("baseline", "baseline"), ("a2a", "a2a-must")])
async def test_a_card_whose_interface_does_not_answer_proves_no_protocol(engine: str, suite: str) -> None:  # E5
    nothing = JSONResponse({"detail": "Not Found"}, 404)
    card = test_a2a.CARD | {"supportedInterfaces": [DEAD | {"url": "HERE/none"}]}
    app = test_a2a.scripted(card)
    app.routes.append(Route("/none", lambda _: nothing, methods=["POST"]))
    async with serving(app) as url:
        report = await get_engine(engine).run(target(url, protocol="a2a", suite=suite))

    assert report.protocol == "a2a"
    assert report.protocol_version == ""
    assert report.counts()["failed"]


async def test_detection_stops_at_the_answer_of_a_stream_that_stays_open() -> None:
    started = time.perf_counter()
    async with served(next(row for row in mcp.ROWS if row.name == "streams left open")) as url:
        found = await detect_protocol(target(url, protocol=""))

    assert found.protocol == "mcp"
    assert time.perf_counter() - started < 3
