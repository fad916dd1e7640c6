"""Passes of the official runner that say nothing are withdrawn, and the report says so."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from compliance.engines import Limits, Verdict
from compliance.engines.suites.mcp_conformance.discover import Found
from tests.compliance.engines.servers import serving
from tests.compliance.engines.suites.mcp_conformance.runs import DECLARED, FIXTURE, codes, conform, verdicts

pytestmark = pytest.mark.processes

PASSED, SILENT, FAILED = Verdict.PASSED, Verdict.SILENT, Verdict.FAILED


def fixture_server(*, broken: bool = False) -> Any:
    server = MCPServer("fixtures", log_level="ERROR")

    @server.tool()
    def test_simple_text() -> str:
        """A text."""
        if broken:
            raise ValueError("out of paper")
        return "This is a text."

    @server.tool()
    def test_error_handling() -> str:
        """Always an error."""
        raise ValueError("as intended")

    @server.tool()
    async def test_tool_with_progress(ctx: Context) -> str:
        """Progress that stands still when broken."""
        for value in (1, 1, 1) if broken else (1, 2, 3):
            await ctx.report_progress(value, 3)
        return "done"

    return server.streamable_http_app()


async def run(app: Any, *scenarios: str, suite: str = FIXTURE, **changes: Any) -> Any:
    async with serving(app) as base:
        return await conform(f"{base}/mcp", suite, options={"scenarios": list(scenarios)}, **changes)


CALLS = ("tools-call-simple-text", "tools-call-error", "tools-call-with-progress")


async def test_what_really_passes_still_passes() -> None:
    report = await run(fixture_server(), *CALLS)

    assert [verdicts(report, key) for key in CALLS] == [{key: PASSED} for key in CALLS]
    assert "withdrawn_pass" not in codes(report)


async def test_an_error_that_is_taken_for_a_result_and_progress_that_stands_still_are_silent() -> None:
    report = await run(fixture_server(broken=True), *CALLS)

    assert verdicts(report, "tools-call-simple-text") == {"tools-call-simple-text": SILENT}
    assert verdicts(report, "tools-call-error") == {"tools-call-error": PASSED}
    assert verdicts(report, "tools-call-with-progress") == {"tools-call-with-progress": SILENT}
    simple = next(s for _, sc, s in report.steps() if sc.key == "tools-call-simple-text")
    assert "isError" in simple.actual
    assert simple.evidence.response["body"]["result"]["isError"] is True
    assert codes(report).count("withdrawn_pass") == 2
    assert report.observations["withdrawn_passes"] == [
        "tools-call-simple-text/tools-call-simple-text",
        "tools-call-with-progress/tools-call-with-progress",
    ]


async def test_an_answer_about_a_tool_that_is_not_there_proves_nothing() -> None:
    report = await run(MCPServer("bare", log_level="ERROR").streamable_http_app(), *CALLS[:2])

    assert [verdicts(report, key) for key in CALLS[:2]] == [{key: SILENT} for key in CALLS[:2]]
    assert "lists no tool test_simple_text" in report.notices[0].message


async def test_empty_lists_are_silent() -> None:
    app = MCPServer("bare", log_level="ERROR").streamable_http_app()
    report = await run(app, "tools-list", "resources-list", "prompts-list", "ping", suite=DECLARED)

    for key in ("tools-list", "resources-list", "prompts-list"):
        assert verdicts(report, key) == {key: SILENT}
    assert verdicts(report, "ping") == {"ping": PASSED}


def scripted(respond: Any) -> Starlette:
    """A server with a session whose answers to what comes after the handshake are given."""

    async def mcp(request: Request) -> Response:
        if request.method != "POST":
            return Response(status_code=405)
        message = await request.json()
        if "id" not in message:
            return Response(status_code=202)
        if message["method"] == "initialize":
            result = {
                "protocolVersion": "2025-11-25",
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "scripted", "version": "1"},
            }
            body = {"jsonrpc": "2.0", "id": message["id"], "result": result}
            return JSONResponse(body, headers={"Mcp-Session-Id": "one"})
        return respond(request, message)

    return Starlette(routes=[Route("/mcp", mcp, methods=["GET", "POST", "DELETE"])])


def _error(request: Request, message: dict[str, Any]) -> Response:
    return JSONResponse({"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32603, "message": "no"}})


async def test_errors_with_status_200_are_no_accepted_streams() -> None:
    report = await run(scripted(_error), "server-sse-multiple-streams", suite=DECLARED)

    found = verdicts(report, "server-sse-multiple-streams")
    assert found == {"server-accepts-multiple-post-streams": SILENT, "server-sse-streams-functional": SILENT}
    assert codes(report) == ["withdrawn_pass"]


async def test_streams_on_which_nothing_comes_do_not_count_as_working() -> None:
    gone = asyncio.Event()

    async def nothing():
        yield b": here\n\n"
        await gone.wait()

    def silent(request: Request, message: dict[str, Any]) -> Response:
        return StreamingResponse(nothing(), media_type="text/event-stream")

    # The listing of our own gives up quickly; the official check waits for two seconds.
    try:
        report = await run(
            scripted(silent), "server-sse-multiple-streams", suite=DECLARED, limits=Limits(step_seconds=1)
        )
    finally:
        gone.set()

    found = verdicts(report, "server-sse-multiple-streams")
    assert found == {"server-accepts-multiple-post-streams": PASSED, "server-sse-streams-functional": SILENT}
    assert "3 of 3 streams carried no answer" in report.notices[0].message


async def test_a_server_that_refuses_its_own_host_too_is_not_protected() -> None:
    async def mcp(request: Request) -> Response:
        message = await request.json()
        # The official check gives no session and an Origin; a browser's request to this server fails altogether.
        if "origin" in request.headers:
            return Response(status_code=403)
        return await inner(request, message)

    async def inner(request: Request, message: dict[str, Any]) -> Response:
        if "id" not in message:
            return Response(status_code=202)
        result = {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "serverInfo": {"name": "scripted", "version": "1"},
        }
        return JSONResponse({"jsonrpc": "2.0", "id": message["id"], "result": result})

    report = await run(
        Starlette(routes=[Route("/mcp", mcp, methods=["POST"])]), "dns-rebinding-protection", suite=DECLARED
    )

    found = verdicts(report, "dns-rebinding-protection")
    assert found == {"localhost-host-rebinding-rejected": SILENT, "localhost-host-valid-accepted": FAILED}


async def test_a_failure_stands_and_the_specification_is_quoted_where_it_is_milder() -> None:
    def tools(request: Request, message: dict[str, Any]) -> Response:
        listed = [{"name": "plain", "inputSchema": {"type": "object"}}]
        return JSONResponse({"jsonrpc": "2.0", "id": message["id"], "result": {"tools": listed}})

    report = await run(scripted(tools), "tools-list", suite=DECLARED)

    assert verdicts(report, "tools-list") == {"tools-list": FAILED}
    assert codes(report) == ["stricter_than_specification"]


@pytest.mark.parametrize(
    ("template", "uri", "fits"),
    [
        ("test://template/{id}/data", "test://template/123/data", True),
        ("test://template/{id}", "test://template/123/data", True),
        ("test://other/{id}/data", "test://template/123/data", False),
        ("test://template/{id}/text", "test://template/123/data", False),
        ("test://template/123/data", "test://template/123/data", False),
    ],
)
def test_a_resource_may_come_of_a_template(template: str, uri: str, fits: bool) -> None:
    found = Found(resources=[], templates=[template])

    assert found.lacks(("resource", uri)) is not fits
