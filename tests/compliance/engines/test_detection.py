"""Which protocol an agent speaks is found by asking it."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, Response

from compliance.engines import Overall, detect_protocol, get_engine
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


async def test_mcp_server_behind_a_token_is_recognized() -> None:
    async with serving(test_mcp.guarded('Bearer resource_metadata="x"')) as url:
        found = await detect_protocol(target(f"{url}/mcp", protocol=""))

    assert found.protocol == "mcp"
    assert "401" in found.reason


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
    async with serving(scripted()) as mcp, serving(test_a2a.scripted()) as a2a:
        first = await get_engine("baseline").run(target(f"{mcp}/mcp", protocol=""))
        second = await get_engine("baseline").run(target(a2a, protocol=""))

    assert (first.protocol, first.overall()) == ("mcp", Overall.PASSING)
    assert (second.protocol, second.overall()) == ("a2a", Overall.PASSING)


async def test_run_against_what_speaks_no_protocol_is_failing() -> None:
    async with serving(PlainTextResponse("hello")) as url:
        report = await get_engine("baseline").run(target(url, protocol=""))

    assert (report.protocol, report.overall()) == ("", Overall.FAILING)
    assert report.headline().endswith("“The agent speaks its protocol”")
