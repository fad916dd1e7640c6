"""Which protocol an agent speaks is found by asking it."""

from __future__ import annotations

import asyncio
import time

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, Response

from compliance.engines import Overall, detect_protocol, get_engine
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


async def test_detection_stops_at_the_answer_of_a_stream_that_stays_open() -> None:
    started = time.perf_counter()
    async with served(next(row for row in mcp.ROWS if row.name == "streams left open")) as url:
        found = await detect_protocol(target(url, protocol=""))

    assert found.protocol == "mcp"
    assert time.perf_counter() - started < 3
