"""The baseline against MCP servers, most of them built with the SDK as their authors would."""

from __future__ import annotations

import asyncio
import json
import re
import time
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import pytest
from mcp.server import MCPServer
from mcp.server.lowlevel import Server
from mcp.server.transport_security import TransportSecuritySettings
from mcp_types import ToolAnnotations
from starlette.responses import JSONResponse, Response, StreamingResponse

from compliance.engines import Credential, Overall, Progress, get_engine
from tests.compliance.engines.servers import PATIENT, QUICK, check, scripted, serving, step, target, tool

TOKEN = "s3cr3t/token+value"


def sdk_server(calls: list[str] | None = None) -> Any:
    server = MCPServer("notes", version="1.2.3", log_level="ERROR")

    @server.tool(annotations=ToolAnnotations(read_only_hint=True))
    def count() -> dict[str, int]:
        """How many notes there are."""
        if calls is not None:
            calls.append("count")
        return {"notes": 3}

    @server.tool()
    def clear() -> str:
        """Throw everything away."""
        if calls is not None:
            calls.append("clear")
        return "gone"

    @server.tool()
    def write(text: str, pinned: bool = False) -> str:
        """Write a note."""
        return text

    @server.resource("notes://all")
    def everything() -> str:
        return "milk, eggs"

    @server.prompt()
    def summarize() -> str:
        return "Summarize my notes"

    return server


async def test_server_built_with_the_sdk_passes_everything() -> None:
    async with serving(sdk_server().streamable_http_app()) as url:
        report = await check(f"{url}/mcp")

    assert report.overall() is Overall.PASSING
    assert report.counts()["failed"] == 0
    assert (report.engine, report.engine_version, report.suite) == ("baseline", "1.0", "baseline")
    assert (report.protocol, report.protocol_version) == ("mcp", "2025-11-25")
    assert [track.key for track in report.tracks] == [
        "connectivity",
        "protocol",
        "capabilities",
        "schemas",
        "errors",
        "security",
    ]
    assert report.observations["server_name"] == "notes"
    assert report.observations["tools"] == 3
    assert report.observations["latency_ms"] > 0
    assert step(report, "mcp/schemas", "tool/write").verdict == "passed"


@pytest.mark.parametrize("options", [{"json_response": True}, {"stateless_http": True}])
async def test_other_modes_of_the_sdk_server_pass_too(options: dict[str, bool]) -> None:
    async with serving(sdk_server().streamable_http_app(**options)) as url:
        assert (await check(f"{url}/mcp")).overall() is Overall.PASSING


async def test_low_level_server_without_any_capability_passes() -> None:
    server: Server[Any] = Server("bare", version="1")
    security = TransportSecuritySettings(enable_dns_rebinding_protection=False)
    async with serving(server.streamable_http_app(transport_security=security)) as url:
        report = await check(f"{url}/mcp")

    assert report.overall() is Overall.PASSING
    assert step(report, "mcp/listings", "tools").verdict == "not_applicable"
    assert step(report, "mcp/errors", "unknown_tool").verdict == "not_applicable"


async def test_two_runs_give_the_same_verdicts() -> None:  # R8
    async with serving(sdk_server().streamable_http_app()) as url:
        first, second = await check(f"{url}/mcp"), await check(f"{url}/mcp")

    assert [(s.key, s.verdict, s.actual) for _, _, s in first.steps() if s.key != "reachable"] == [
        (s.key, s.verdict, s.actual) for _, _, s in second.steps() if s.key != "reachable"
    ]


async def test_session_is_ended_on_the_server() -> None:
    seen: list[tuple[str, str]] = []
    app = sdk_server().streamable_http_app()

    async def watched(scope, receive, send):
        if scope["type"] == "http":
            seen.append((scope["method"], scope["path"]))
        await app(scope, receive, send)

    async with serving(watched) as url:
        await check(f"{url}/mcp")

    assert seen[-1] == ("DELETE", "/mcp")
    assert ("GET", "/mcp") not in seen
    assert len(seen) <= 12


# Tools


async def test_only_tools_that_read_are_called() -> None:
    calls: list[str] = []
    async with serving(sdk_server(calls).streamable_http_app()) as url:
        report = await check(f"{url}/mcp")

    assert calls == ["count"]
    assert step(report, "mcp/calls", "call/count").verdict == "passed"


async def test_no_tool_is_called_when_the_suite_says_so() -> None:
    calls: list[str] = []
    async with serving(sdk_server(calls).streamable_http_app()) as url:
        await check(f"{url}/mcp", options={"call_read_only_tools": False})

    assert calls == []


async def test_other_tools_are_called_only_when_the_suite_allows_side_effects() -> None:
    calls: list[str] = []
    async with serving(sdk_server(calls).streamable_http_app()) as url:
        await check(f"{url}/mcp", options={"allow_side_effects": True})

    assert calls == ["count", "clear"]


@pytest.mark.parametrize(
    ("broken", "place"),
    [
        (
            {"inputSchema": {"type": "object", "properties": {"a/b": {"type": "text"}}}},
            "/inputSchema/properties/a~1b/type:",
        ),
        ({"inputSchema": {"type": "object", "required": "a"}}, "/inputSchema/required:"),
        (
            {"inputSchema": {"type": "object", "properties": {"n": {"minimum": "1"}}}},
            "/inputSchema/properties/n/minimum:",
        ),
        ({"inputSchema": {"type": "object", "properties": {"n": {"$ref": "#/$defs/N"}}}}, "points to nothing"),
        ({"inputSchema": {"type": "array"}}, '/inputSchema/type is not "object"'),
        ({"inputSchema": None}, "/inputSchema is missing"),
        ({"inputSchema": "object"}, "/inputSchema is not an object"),
        ({"outputSchema": {"type": "object", "properties": []}}, "/outputSchema/properties:"),
        ({"inputSchema": {"$schema": "http://example.com/mine", "type": "object"}}, "/inputSchema/$schema:"),
    ],
)
async def test_invalid_schema_fails_its_tool_and_names_the_place(broken: dict[str, Any], place: str) -> None:
    async with serving(scripted(tools_list={"tools": [tool("bad", **broken), tool("good")]})) as url:
        report = await check(f"{url}/mcp")

    assert step(report, "mcp/schemas", "tool/bad").verdict == "failed"
    assert place in step(report, "mcp/schemas", "tool/bad").actual
    assert step(report, "mcp/schemas", "tool/good").verdict == "passed"
    assert report.overall() is Overall.PARTIAL


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"$ref": {"type": "string"}, "type": {"type": "string"}}},
        {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"enum": [{"$ref": "#/no"}]}}},
        {"type": "object", "$schema": "http://json-schema.org/draft-07/schema#", "definitions": {"x": True}},
        {"type": "object", "properties": {"a": {"$ref": "#/properties/b~1c"}, "b/c": {"type": "null"}}},
    ],
)
async def test_unusual_but_valid_schema_passes(schema: dict[str, Any]) -> None:
    async with serving(scripted(tools_list={"tools": [tool("odd", inputSchema=schema)]})) as url:
        report = await check(f"{url}/mcp")

    assert step(report, "mcp/schemas", "tool/odd").verdict == "passed", step(report, "mcp/schemas", "tool/odd").actual


async def test_names_used_twice_fail_and_each_tool_keeps_its_step() -> None:
    async with serving(scripted(tools_list={"tools": [tool("same"), tool("same")]})) as url:
        report = await check(f"{url}/mcp")

    assert "same" in step(report, "mcp/schemas", "names").actual
    assert {s.key for _, scenario, s in report.steps() if scenario.key == "mcp/schemas"} == {
        "names",
        "tool/same",
        "tool/same+",
    }


OUT = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


@pytest.mark.parametrize(
    ("result", "verdict", "words"),
    [
        ({"content": [], "structuredContent": {"n": 1}}, "passed", "matches"),
        ({"content": [], "structuredContent": {"n": "1"}}, "failed", "/n:"),
        ({"content": [], "structuredContent": {}}, "failed", "(root)"),
        ({"content": []}, "failed", "without structured content"),
        ({"content": [{"type": "text", "text": "no disk"}], "isError": True}, "silent", "no disk"),  # E7
    ],
)
async def test_result_is_compared_with_the_output_schema(result: dict[str, Any], verdict: str, words: str) -> None:
    tools = {"tools": [tool("t", outputSchema=OUT, annotations={"readOnlyHint": True})]}
    async with serving(scripted(tools_list=tools, tools_call=result)) as url:
        report = await check(f"{url}/mcp")

    assert step(report, "mcp/calls", "call/t").verdict == verdict
    assert words in step(report, "mcp/calls", "call/t").actual


_OWN_BUSINESS: list[Any] = [
    {"code": -32602, "message": "Give either query or id"},
    {"code": -32603, "message": "The other system is down"},
    {"code": -32000, "message": "Link your account first"},
    {"code": -32042, "message": "See this page first", "data": {"elicitations": []}},
    None,  # no answer within the time for a step
]


@pytest.mark.parametrize("error", _OWN_BUSINESS, ids=str)
async def test_what_a_tool_says_about_its_own_business_is_silent(error: dict[str, Any] | None) -> None:  # E7
    async def call(message: dict[str, Any]) -> Response:
        if message["params"]["name"] == "assay-no-such-tool":
            return JSONResponse({"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32602, "message": "No"}})
        if error is None:
            await asyncio.Event().wait()
        return JSONResponse({"jsonrpc": "2.0", "id": message["id"], "error": error})

    tools = {"tools": [tool("t", annotations={"readOnlyHint": True})]}
    async with serving(scripted(tools_list=tools, tools_call=call)) as url:
        report = await check(f"{url}/mcp", limits=QUICK if error is None else PATIENT)

    assert step(report, "mcp/calls", "call/t").verdict == "silent"
    assert report.overall() is Overall.PASSING
    assert ("take its time" if error is None else error["message"]) in step(report, "mcp/calls", "call/t").actual


@pytest.mark.parametrize("code", [-32700, -32600, -32601])
async def test_server_that_lists_a_tool_and_knows_no_calls_fails(code: int) -> None:  # E7
    def call(message: dict[str, Any]) -> Response:
        return JSONResponse({"jsonrpc": "2.0", "id": message["id"], "error": {"code": code, "message": "No"}})

    tools = {"tools": [tool("t", annotations={"readOnlyHint": True})]}
    async with serving(scripted(tools_list=tools, tools_call=call)) as url:
        report = await check(f"{url}/mcp")

    assert step(report, "mcp/calls", "call/t").verdict == "failed"


async def test_pages_are_put_together() -> None:
    def pages(message):
        cursor = (message.get("params") or {}).get("cursor")
        number = int(cursor or 0)
        return {"tools": [tool(f"t{number}")]} | ({"nextCursor": str(number + 1)} if number < 2 else {})

    async with serving(scripted(tools_list=pages)) as url:
        report = await check(f"{url}/mcp")

    assert step(report, "mcp/listings", "tools").actual == "3 tools on 3 pages"


# Errors, versions, shapes


async def test_unknown_things_answered_with_a_result_fail() -> None:
    script = {"assay_no-such-method": {}, "tools_call": {"content": []}}
    async with serving(scripted(**script)) as url:
        report = await check(f"{url}/mcp")

    assert step(report, "mcp/errors", "unknown_method").verdict == "failed"
    assert step(report, "mcp/errors", "unknown_tool").verdict == "failed"


@pytest.mark.parametrize(
    ("code", "verdict", "words"),
    [
        (-32603, "failed", "Error -32603: oops"),
        (-32602, "silent", "Error -32602 (invalid parameters) in place of -32601, as from older official SDKs"),
    ],
)
async def test_unknown_method_answered_with_another_error_does_not_pass(code: int, verdict: str, words: str) -> None:
    def odd(message):
        return JSONResponse({"jsonrpc": "2.0", "id": message["id"], "error": {"code": code, "message": "oops"}})

    async with serving(scripted(**{"assay_no-such-method": odd})) as url:
        report = await check(f"{url}/mcp")

    found = step(report, "mcp/errors", "unknown_method")
    assert (found.verdict, found.actual) == (verdict, words)


def _initialize(**result: Any) -> dict[str, Any]:
    return {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "v", "version": "1"}} | result


async def test_version_never_published_fails() -> None:
    async with serving(scripted(initialize=_initialize(protocolVersion="1999-01-01"))) as url:
        report = await check(f"{url}/mcp")

    assert step(report, "mcp/lifecycle", "version").actual == "Asked for 2025-11-25, answered 1999-01-01"
    assert step(report, "mcp/lifecycle", "ping").verdict == "skipped"


async def test_superseded_version_passes_with_a_notice() -> None:
    async with serving(scripted(initialize=_initialize(protocolVersion="2024-11-05"))) as url:
        report = await check(f"{url}/mcp")

    assert report.overall() is Overall.PASSING
    assert [notice.code for notice in report.notices] == ["old_version"]


async def test_server_of_the_version_without_initialize_is_judged_too() -> None:
    def only_discover(message):
        error = {"code": -32022, "message": "no", "data": {"supported": ["2026-07-28"], "requested": "2025-11-25"}}
        return JSONResponse({"jsonrpc": "2.0", "id": message["id"], "error": error}, 400)

    app = sdk_server().streamable_http_app(stateless_http=True)
    refusing = scripted(initialize=only_discover)

    async def modern(scope, receive, send):
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        messages = [await receive()]

        async def again():
            return messages.pop() if messages else await receive()

        chosen = refusing if b'"initialize"' in messages[0].get("body", b"") else app
        await chosen(scope, again, send)

    async with serving(modern) as url:
        report = await check(f"{url}/mcp")

    assert report.protocol_version == "2026-07-28"
    assert step(report, "mcp/lifecycle", "initialize").verdict == "not_applicable"
    assert step(report, "mcp/lifecycle", "ping").verdict == "not_applicable"
    assert step(report, "mcp/listings", "tools").actual == "3 tools"
    assert report.overall() is Overall.PASSING, report.headline()


@pytest.mark.parametrize(
    ("result", "place"),
    [
        ({"protocolVersion": "2025-11-25", "capabilities": {}}, "/serverInfo"),
        (_initialize(capabilities=[]), "/capabilities"),
        (_initialize(serverInfo={"name": 7, "version": "1"}), "/serverInfo/name"),
    ],
)
async def test_initialize_result_of_another_shape_fails_and_names_the_place(result: Any, place: str) -> None:
    async with serving(scripted(initialize=result)) as url:
        report = await check(f"{url}/mcp")

    assert step(report, "mcp/lifecycle", "initialize").verdict == "failed"
    assert place in step(report, "mcp/lifecycle", "initialize").actual


async def test_slow_agent_passes_with_a_notice() -> None:
    from compliance.engines import Limits

    async with serving(sdk_server().streamable_http_app()) as url:
        report = await check(f"{url}/mcp", limits=Limits(slow_ms=0))

    assert report.overall() is Overall.PASSING
    assert [notice.code for notice in report.notices] == ["slow"]


# Credentials


def guarded(challenge: str | None = "Bearer", status: int = 401, metadata: Any = None) -> Any:
    inside = scripted(tools_list={"tools": [tool("echo")]})

    async def app(scope, receive, send):
        if scope["type"] != "http":
            return await inside(scope, receive, send)
        headers = dict(scope["headers"])
        if scope["path"].startswith("/.well-known/") and metadata is not None:
            return await JSONResponse(metadata)(scope, receive, send)
        if scope["path"] == "/mcp" and headers.get(b"authorization") != f"Bearer {TOKEN}".encode():
            extra = {"www-authenticate": challenge} if challenge else {}
            return await Response(status_code=status, headers=extra)(scope, receive, send)
        return await inside(scope, receive, send)

    return app


async def test_agent_that_wants_a_token_is_inconclusive_without_one() -> None:
    async with serving(guarded()) as url:
        report = await check(f"{url}/mcp")

    # A green mark would vouch for what nobody saw; a red one would blame it for asking.
    assert report.overall() is Overall.INCONCLUSIVE
    assert report.headline().startswith("Inconclusive: the agent wants a credential. All ")
    assert step(report, "mcp/auth", "unauthorized").verdict == "passed"
    assert step(report, "mcp/auth", "metadata").verdict == "not_applicable"
    assert step(report, "mcp/lifecycle", "initialize").verdict == "skipped"
    assert "wants a credential" in step(report, "mcp/lifecycle", "initialize").actual
    assert "needs_credential" in {notice.code for notice in report.notices}


async def test_token_opens_the_agent_and_the_challenge_is_still_checked() -> None:
    metadata = {"resource": "http://x/mcp", "authorization_servers": ["https://login.example"]}
    async with serving(guarded(metadata=metadata)) as url:
        report = await check(f"{url}/mcp", token=TOKEN)

    assert report.overall() is Overall.PASSING
    for key in ("unauthorized", "metadata", "accepted"):
        assert step(report, "mcp/auth", key).verdict == "passed"
    assert step(report, "mcp/listings", "tools").verdict == "passed"


@pytest.mark.parametrize("status", [401, 403])
async def test_token_that_is_refused_says_that_it_is_wrong_and_not_the_agent(status: int) -> None:  # R7
    async with serving(guarded(status=status)) as url:
        report = await check(f"{url}/mcp", credential=replace(Credential.bearer("another"), name="Test key"))

    refused = step(report, "mcp/auth", "accepted")
    assert (refused.verdict, refused.actual) == ("failed", f"The credential was refused with status {status}")
    assert refused.evidence is not None
    assert refused.evidence.response["status"] == status
    assert step(report, "mcp/lifecycle", "ping").verdict == "skipped"
    assert report.overall() is Overall.INCONCLUSIVE
    words = f"The agent refused the credential “Test key” (HTTP {status}). Replace it, or test without one"
    assert (report.headline(), report.locked) == (f"Not tested: {words}", False)
    assert [notice.code for notice in report.notices] == ["credential_not_accepted"]


@pytest.mark.parametrize("token", [None, "another"])
async def test_agent_that_answers_401_to_everything_gets_no_verdict_out_of_it(token: str | None) -> None:  # R7
    async def shut(scope: Any, receive: Any, send: Any) -> None:
        await Response(status_code=401, headers={"WWW-Authenticate": "Bearer"})(scope, receive, send)

    async with serving(shut) as url:
        reports = [await check(f"{url}/{path}", token=token, protocol=protocol)
                   for path, protocol in (("mcp", "mcp"), ("", "a2a"), ("mcp", ""))]  # fmt: skip
        unknown = await check(f"{url}/api", token=token, protocol="")

    assert {report.overall() for report in reports} == {Overall.INCONCLUSIVE}
    assert unknown.overall() is Overall.INCONCLUSIVE  # E4: wherever it is mounted


@pytest.mark.parametrize(("challenge", "status"), [(None, 401), ("Bearer", 403), (None, 403), (None, 402)])
async def test_locked_agent_is_not_broken_however_it_says_so(challenge: str | None, status: int) -> None:  # E4
    async with serving(guarded(challenge, status)) as url:
        report = await check(f"{url}/mcp")

    assert step(report, "mcp/auth", "unauthorized").verdict == "silent"
    assert (report.overall(), report.locked) == (Overall.INCONCLUSIVE, True)


async def test_challenge_without_its_header_fails_where_the_rest_can_be_seen() -> None:
    async with serving(guarded(None, 401)) as url:
        report = await check(f"{url}/mcp", token=TOKEN)

    assert step(report, "mcp/auth", "unauthorized").verdict == "failed"
    assert "without a WWW-Authenticate" in step(report, "mcp/auth", "unauthorized").actual


@pytest.mark.parametrize("metadata", [{}, {"resource": "x"}, {"resource": "x", "authorization_servers": []}, ["x"]])
async def test_metadata_that_names_nothing_fails(metadata: Any) -> None:
    async with serving(guarded(metadata=metadata)) as url:
        report = await check(f"{url}/mcp")

    assert step(report, "mcp/auth", "metadata").verdict == "failed"


# Connections


def _counting(app: Any, seen: set[tuple[str, int]]) -> Any:
    async def counted(scope, receive, send):
        if scope["type"] == "http":
            seen.add(scope["client"])
        await app(scope, receive, send)

    return counted


async def test_run_over_event_streams_needs_one_connection() -> None:
    connections: set[tuple[str, int]] = set()
    async with serving(_counting(sdk_server().streamable_http_app(), connections)) as url:
        report = await check(f"{url}/mcp")

    assert report.overall() is Overall.PASSING
    assert len(connections) == 1


@pytest.mark.parametrize("more", [b": still here\n\n", b"x" * 65536])
async def test_stream_that_goes_on_after_the_answer_changes_no_verdict_and_holds_nothing_up(more: bytes) -> None:
    def pong(message):
        async def goes_on():
            yield f"data: {json.dumps({'jsonrpc': '2.0', 'id': message['id'], 'result': {}})}\n\n".encode()
            while True:
                yield more
                await asyncio.sleep(0.01)

        return StreamingResponse(goes_on(), media_type="text/event-stream")

    async with serving(scripted(ping=pong)) as url:
        started = time.perf_counter()
        report = await check(f"{url}/mcp")

    assert step(report, "mcp/lifecycle", "ping").verdict == "passed"
    assert report.overall() is Overall.PASSING
    assert time.perf_counter() - started < 3


# Evidence


async def test_evidence_is_kept_of_steps_that_did_not_pass_alone() -> None:
    async with serving(scripted(ping=lambda message: Response(status_code=500))) as url:
        report = await check(f"{url}/mcp")

    ping = step(report, "mcp/lifecycle", "ping")
    assert ping.verdict == "failed"
    assert ping.evidence is not None
    assert ping.evidence.request["body"]["method"] == "ping"
    assert ping.evidence.response["status"] == 500
    assert step(report, "mcp/listings", "tools").verdict == "passed"
    assert [each.key for _, _, each in report.steps() if each.verdict == "passed" and each.evidence] == []


async def test_evidence_of_a_listing_is_kept_when_its_schemas_are_at_fault() -> None:
    bad = tool("bad", inputSchema={"type": "object", "properties": {"a": {"type": "text"}}})
    async with serving(scripted(tools_list={"tools": [bad]})) as url:
        report = await check(f"{url}/mcp")

    listing = step(report, "mcp/listings", "tools")
    assert step(report, "mcp/schemas", "tool/bad").verdict == "failed"
    assert listing.verdict == "passed"
    assert listing.evidence is not None
    assert listing.evidence.response["body"]["result"]["tools"] == [bad]


@pytest.mark.parametrize(
    ("bad", "key", "place"),
    [
        (tool("bad", inputSchema={"type": "object", "properties": {"a/b": {"type": "text"}}}), "tool/bad",
         "/inputSchema/properties/a~1b/type"),
        (tool("bad", inputSchema={"type": "array"}), "tool/bad", "/inputSchema/type"),
        (tool("fine"), "names", "/name"),
        ({"name": "bad"}, "tool/bad", ""),
    ],
)  # fmt: skip
async def test_fault_in_a_listing_is_pointed_to_on_the_page_where_it_stands(
    bad: dict[str, Any], key: str, place: str
) -> None:
    def page(message: dict[str, Any]) -> dict[str, Any]:
        if message.get("params", {}).get("cursor") == "2":
            return {"tools": [tool("first of the second page"), bad], "nextCursor": "3"}
        return {"tools": [tool("last")]} if "cursor" in message.get("params", {}) else {
            "tools": [tool("fine")], "nextCursor": "2"
        }  # fmt: skip

    async with serving(scripted(tools_list=page)) as url:
        report = await check(f"{url}/mcp")

    for kept in (step(report, "mcp/schemas", key).evidence, step(report, "mcp/listings", "tools").evidence):
        assert kept is not None
        assert kept.pointer == f"/response/body/result/tools/1{place}"
        assert kept.response["body"]["result"]["tools"][1] == bad


async def test_fault_in_a_listing_that_had_to_be_cut_has_no_place() -> None:
    bad = tool("bad", description="long " * 40_000, inputSchema={"type": "array"})
    async with serving(scripted(tools_list={"tools": [bad]})) as url:
        report = await check(f"{url}/mcp")

    evidence = step(report, "mcp/schemas", "tool/bad").evidence
    assert evidence is not None
    assert "[cut: " in evidence.response["body"]
    assert evidence.pointer == ""


async def test_listing_is_kept_with_the_first_few_of_many_faults() -> None:
    tools = [tool(f"t{number}", inputSchema={"type": "array"}) for number in range(12)]
    async with serving(scripted(tools_list={"tools": tools})) as url:
        report = await check(f"{url}/mcp")

    failed = [each for _, s, each in report.steps() if s.key == "mcp/schemas" and each.verdict == "failed"]
    assert [bool(each.evidence) for each in failed] == [True] * 5 + [False] * 7


@pytest.mark.parametrize(
    ("reply", "place"),
    [
        (Response("oops", 500), "/response/status"),
        (Response("{", media_type="application/json"), "/response/body"),
        (Response("pong", media_type="text/plain"), "/response/headers/content-type"),
        ("pong", "/response/body/result"),
        ({"_meta": 3}, "/response/body/result/_meta"),
    ],
)
async def test_failing_place_of_an_answer_is_pointed_to(reply: Any, place: str) -> None:
    async with serving(scripted(ping=reply)) as url:
        report = await check(f"{url}/mcp")

    ping = step(report, "mcp/lifecycle", "ping")
    assert ping.verdict == "failed"
    assert ping.evidence is not None
    assert ping.evidence.pointer == place


async def test_evidence_says_how_long_the_exchange_took() -> None:
    async def slow(message: dict[str, Any]) -> Response:
        await asyncio.sleep(0.12)
        return Response(status_code=500)

    async with serving(scripted(ping=slow)) as url:
        report = await check(f"{url}/mcp")

    ping = step(report, "mcp/lifecycle", "ping")
    assert ping.evidence is not None
    assert 120 <= ping.evidence.response["ms"] <= ping.duration_ms + 1


@pytest.mark.parametrize("asked", [{"options": {"evidence": "all"}}, {"all_evidence": True}])
async def test_both_ways_to_ask_for_all_evidence_mean_the_same(asked: dict[str, Any]) -> None:
    async with serving(scripted()) as url:
        report = await check(f"{url}/mcp", **asked)

    assert step(report, "mcp/lifecycle", "ping").evidence is not None


async def test_digest_changes_with_what_is_listed_and_with_nothing_else() -> None:
    one, two = tool("one"), tool("two", description="Says two")
    pages: Any = iter([[one, two], [two, one], [one, two | {"description": "Says three"}]])
    digests = []
    async with serving(scripted(tools_list=lambda message: {"tools": next(pages)})) as url:
        for _ in range(3):
            report = await check(f"{url}/mcp")
            digests.append(report.observations["tools_digest"])

    assert digests[0] == digests[1] != digests[2]
    assert re.fullmatch(r"[0-9a-f]{12}", digests[0])


async def test_listing_that_failed_has_no_digest() -> None:
    async with serving(scripted(tools_list=Response("oops", 500))) as url:
        report = await check(f"{url}/mcp")

    assert "tools_digest" not in report.observations


async def test_every_exchange_is_kept_as_json_evidence_when_that_is_asked_for() -> None:
    async with serving(sdk_server().streamable_http_app()) as url:
        report = await check(f"{url}/mcp", options={"evidence": "all"})

    ping = step(report, "mcp/lifecycle", "ping").evidence
    assert ping is not None
    assert ping.request["body"]["method"] == "ping"
    assert ping.response["status"] == 200
    assert ping.response["body"]["result"] == {}
    for _, _, each in report.steps():
        json.dumps([each.evidence.request, each.evidence.response] if each.evidence else None, allow_nan=False)
    assert "evidence" not in json.dumps(report.tracks_json())


async def test_token_is_nowhere_in_the_report_even_when_the_agent_echoes_it() -> None:  # V1
    def echo(message):
        return {"tools": [tool("echo", description=f"You sent {TOKEN}, that is {TOKEN!r}", title=TOKEN)]}

    def fail(message):
        error = {"code": -32000, "message": f"no method for {TOKEN}"}
        headers = {"x-echo": TOKEN, "set-cookie": "sid=abc"}
        return JSONResponse({"jsonrpc": "2.0", "id": message["id"], "error": error}, headers=headers)

    info = {"name": f"echo {TOKEN}", "version": TOKEN}
    app = scripted(
        initialize=_initialize(capabilities={"tools": {}}, serverInfo=info),
        tools_list=echo,
        **{"assay_no-such-method": fail},
    )
    told: list[Progress] = []
    async with serving(app) as url:
        at = target(f"{url}/mcp", token=TOKEN, options={"evidence": "all"})
        report = await get_engine("baseline").run(at, on_step=told.append)

    everything = repr(report) + repr(told) + repr(at)
    assert TOKEN not in everything
    assert "s3cr3t" not in everything
    assert "sid=abc" not in everything
    assert "[redacted]" in step(report, "mcp/errors", "unknown_method").actual


async def test_token_as_a_name_is_in_no_key_and_its_beginning_in_no_text_that_is_cut() -> None:  # V1
    """What an agent calls its tools becomes the key of a step; long names are cut, in the midst of the token too."""
    named = [TOKEN, "t" * 118 + TOKEN, {"name": TOKEN, "inputSchema": {"type": "object"}}]
    tools = [each if isinstance(each, dict) else tool(each, annotations={"readOnlyHint": True}) for each in named]
    app = sdk_echoing(tools, {"name": "n" * 90 + TOKEN, "version": "1" * 40 + TOKEN})
    told: list[Progress] = []
    async with serving(app) as url:
        report = await get_engine("baseline").run(target(f"{url}/mcp", token=TOKEN), on_step=told.append)

    assert any(each.key.startswith("call/") for _, _, each in report.steps())
    assert "s3cr3t" not in repr(report) + repr(told) + json.dumps(report.tracks_json())


@pytest.mark.parametrize("before", [170, 185, 195, 199, 440, 470, 1980, 1995])
async def test_no_beginning_of_a_token_is_left_where_a_schemas_fault_is_cut(before: int) -> None:  # V1
    text = "x" * before + TOKEN
    faulty = {"type": "object", "properties": {"a": {"type": text}}}
    lost = {"type": "object", "properties": {"a": {"$ref": f"#/{text}"}}}
    output = {"type": "object", "properties": {"a": {"enum": [1]}}}
    tools = [
        tool("faulty", inputSchema=faulty, outputSchema=faulty),
        tool("lost", inputSchema=lost, outputSchema=faulty),
        tool("wrong", outputSchema=output, annotations={"readOnlyHint": True}),
    ]
    app = scripted(
        initialize=_initialize(capabilities={"tools": {}}),
        tools_list=lambda message: {"tools": tools},
        tools_call=lambda message: {"content": [], "structuredContent": {"a": text}},
    )
    async with serving(app) as url:
        report = await check(f"{url}/mcp", token=TOKEN)

    said = [each.actual for _, scenario, each in report.steps() if scenario.key in ("mcp/schemas", "mcp/calls")]
    assert sum("xxxx" in actual for actual in said) == 3, said
    for cut in range(4, len(TOKEN) + 1):
        assert not any(re.search(re.escape(TOKEN[:cut]), actual) for actual in said)


def sdk_echoing(tools: list[Any], info: dict[str, str]) -> Any:
    return scripted(
        initialize=_initialize(capabilities={"tools": {}}, serverInfo=info),
        tools_list=lambda message: {"tools": tools},
        tools_call=lambda message: {"content": [{"type": "text", "text": "e" * 290 + TOKEN}], "isError": True},
    )


async def test_token_is_not_sent_to_another_origin() -> None:  # V1
    seen: list[str] = []

    async def other(scope, receive, send):
        if scope["type"] == "http":
            seen.extend(v.decode() for k, v in scope["headers"] if k == b"authorization")
            await Response(status_code=404)(scope, receive, send)

    async with serving(other) as elsewhere:

        async def away(scope, receive, send):
            if scope["type"] == "http":
                await Response(status_code=307, headers={"location": elsewhere})(scope, receive, send)

        async with serving(away) as url:
            await check(f"{url}/mcp", token=TOKEN)
            await check(url, protocol="a2a", token=TOKEN)

    assert seen == []


# Progress and selection


async def test_progress_counts_up_to_its_total() -> None:
    told: list[Progress] = []
    async with serving(sdk_server().streamable_http_app()) as url:
        report = await get_engine("baseline").run(target(f"{url}/mcp"), on_step=told.append)

    counts = [progress.done for progress in told]
    assert counts == sorted(counts)
    assert all(progress.done < progress.total for progress in told)
    assert told[-1].total == sum(report.counts().values())
    assert all(progress.step for progress in told)


async def test_only_the_chosen_scenarios_are_reported() -> None:
    calls: list[str] = []
    async with serving(sdk_server(calls).streamable_http_app()) as url:
        report = await check(f"{url}/mcp", options={"scenarios": ["mcp/errors"]})

    assert [scenario.key for track in report.tracks for scenario in track.scenarios] == ["mcp/errors"]
    assert report.overall() is Overall.PASSING
    assert calls == []


async def test_a_report_says_what_ran_and_against_which_specification() -> None:
    async with serving(scripted()) as url:
        report = await check(f"{url}/mcp", suite_version="1")

    assert report.runtime["mcp"] == version("mcp")
    assert report.spec_version == "MCP 2025-11-25"
    assert report.suite_version == "1"
