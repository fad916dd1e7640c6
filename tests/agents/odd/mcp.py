"""MCP servers in good order, but for one thing each."""

from __future__ import annotations

import asyncio
import inspect
import json
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from starlette.responses import JSONResponse, Response, StreamingResponse

from compliance.engines import Overall
from tests.agents.odd.table import Agent, Asked, OddAgent

PASSING, PARTIAL, FAILING, INCONCLUSIVE = Overall.PASSING, Overall.PARTIAL, Overall.FAILING, Overall.INCONCLUSIVE
READS = {"annotations": {"readOnlyHint": True}}

# Answers a request, or leaves it to the agent in good order.
Part = Callable[[Asked], Response | Awaitable[Response | None] | None]


def tool(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "description": name, "inputSchema": {"type": "object"}} | more


def mcp(
    *tools: dict[str, Any],
    before: Part | None = None,
    call: Callable[[Asked], Any] | None = None,
    version: str = "2025-11-25",
    capabilities: dict[str, Any] | None = None,
) -> Agent:
    """An MCP server with these tools.

    before: answers first, where it has an answer. call: answers calls of the tools that there are.
    """
    names = {each["name"] for each in tools}
    declared = {"tools": {}} if capabilities is None else capabilities

    async def agent(asked: Asked) -> Response:
        if before is not None:
            first = before(asked)
            answer = await first if inspect.isawaitable(first) else first
            if answer is not None:
                return answer
        if asked.verb != "POST":
            return Response(status_code=200 if asked.verb == "DELETE" else 405)
        if "id" not in asked.message:
            return Response(status_code=202)
        if asked.method == "initialize":
            info = {"name": "odd", "version": "1"}
            return asked.result({"protocolVersion": version, "capabilities": declared, "serverInfo": info})
        if asked.method == "ping":
            return asked.result({})
        if asked.method == "tools/list" and "tools" in declared:
            return asked.result({"tools": list(tools)})
        if asked.method == "tools/call" and "tools" in declared:
            if asked.message.get("params", {}).get("name") not in names:
                return asked.error(-32602, "Unknown tool")
            if call is None:
                return asked.result({"content": [{"type": "text", "text": "done"}]})
            reply = call(asked)
            return await reply if inspect.isawaitable(reply) else reply
        return asked.error(-32601, "Method not found")

    return agent


def takes(schema: dict[str, Any]) -> dict[str, Any]:
    """A tool that only reads, and takes this."""
    return tool("look", **READS, inputSchema={"type": "object", **schema})


def must_not_call(asked: Asked) -> Response:
    raise AssertionError("a tool was called that may not be called so")


def refuses(**result: Any) -> Callable[[Asked], Response]:
    return lambda asked: asked.result({"content": [{"type": "text", "text": "Link your account first"}], **result})


def streamed(plain: Agent) -> Part:
    """The agent's answers as event streams, which stay open after the answer."""

    async def answer(asked: Asked) -> Response | None:
        if asked.verb != "POST" or "id" not in asked.message:
            return None
        reply = plain(asked)
        body = bytes((await reply if inspect.isawaitable(reply) else reply).body)

        async def events() -> AsyncIterator[bytes]:
            yield b"event: message\ndata: " + body + b"\n\n"
            await asyncio.Event().wait()

        return StreamingResponse(events(), media_type="text/event-stream")

    return answer


# Locked doors


def locked(
    status: int = 401, *lines: str, at: tuple[str, ...] = (), token: str = "", metadata: bool = False, page: Any = None
) -> Agent:
    """An agent that wants a credential, or answers these methods only with one. BASE in a line is its address."""

    def guard(asked: Asked) -> Response | None:
        if asked.path == "/meta":
            return JSONResponse({"resource": f"{asked.base}/mcp", "authorization_servers": ["https://login.example"]})
        if asked.verb == "GET" and not (status and not at):
            return None
        if token and asked.headers.get("authorization") == f"Bearer {token}":
            return None
        if at and asked.method not in at:
            return None
        response = Response(status_code=status) if page is None else JSONResponse(page, status)
        for line in lines:
            response.headers.append("WWW-Authenticate", line.replace("BASE", asked.base))
        return response

    return mcp(tool("a"), tool("b", **READS), before=guard)


# Versions


def newest_only(refusal: int, status: int = 400) -> Agent:
    """A server of the versions without initialize, which refuses it in one of the ways that are met."""
    info = {"name": "odd", "version": "1"}
    whole = {"resultType": "complete", "ttlMs": 0, "cacheScope": "public"}

    def answer(asked: Asked) -> Response | None:
        if asked.verb != "POST":
            return Response(status_code=405)
        if asked.headers.get("mcp-protocol-version") != "2026-07-28":
            return asked.error(refusal, "No such method, version or header", status)
        if asked.method == "server/discover":
            found = {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}, "_meta": {}}
            return asked.result(
                found | {"serverInfo": info, "resultType": "complete", "ttlMs": 0, "cacheScope": "public"}
            )
        if asked.method == "tools/list":
            return asked.result({"tools": [tool("a")]} | whole)
        if asked.method == "tools/call":
            return asked.error(-32602, "Unknown tool", 400)
        return asked.error(-32601, "Method not found", 404)

    return mcp(before=answer)


def legacy(asked: Asked) -> Response:
    """The transport of the first version: a GET is answered with a stream, whose first event says where to post."""
    if asked.verb != "GET":
        return Response("Method Not Allowed", 405)
    if asked.path != "/sse":
        return Response("Not Found", 404)

    async def events() -> AsyncIterator[bytes]:
        yield b"event: endpoint\ndata: /messages?session=1\n\n"
        await asyncio.Event().wait()

    return StreamingResponse(events(), media_type="text/event-stream")


# What stands in front


def limited(every: int, seconds: float, *, status: int = 429, header: bool = True) -> Agent:
    """Takes so many requests in so many seconds, and then says when to come back."""
    times: list[float] = []

    def limit(asked: Asked) -> Response | None:
        now = time.monotonic()
        times[:] = [each for each in times if now - each < seconds]
        if asked.verb != "POST":
            return None
        if len(times) >= every:
            asks = {"Retry-After": str(math.ceil(seconds))} if header else {}
            return Response("Slow down", status, headers=asks)
        times.append(now)
        return None

    return mcp(tool("a"), tool("b", **READS), before=limit)


def always(status: int, body: str = "", media_type: str = "text/plain", **headers: str) -> Agent:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda asked: Response(body, status, headers=named, media_type=media_type)


def evading(refusal: Agent, *broken: str) -> Agent:
    """Lets through what any client asks, and not what only a test does. broken: methods that crash it."""

    def answer(asked: Asked) -> Any:
        if asked.method == "assay/no-such-method":
            return refusal(asked)
        return Response("oops", 500) if asked.method in broken else None

    return mcp(tool("a"), before=answer)


_JUST_A_MOMENT = "<!DOCTYPE html><html><head><title>Just a moment...</title></head><body></body></html>"


def many(asked: Asked) -> Response | None:
    """A list of tools of 5 MB."""
    if asked.method != "tools/list":
        return None
    return asked.result({"tools": [tool(f"tool-{number}", description="x" * 10_000) for number in range(500)]})


# Sessions


def ending(after: int) -> Agent:
    """A server whose sessions end after so many requests."""
    opened: list[int] = []

    def session(asked: Asked) -> Response | None:
        if asked.verb != "POST":
            return None
        if asked.method == "initialize":
            opened.append(after)
            result = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}}
            return asked.result(
                result | {"serverInfo": {"name": "odd", "version": "1"}}, mcp_session_id=f"s{len(opened)}"
            )
        if asked.headers.get("mcp-session-id") != f"s{len(opened)}" or not opened[-1]:
            error = {"code": -32001, "message": "Session not found"}
            return JSONResponse({"jsonrpc": "2.0", "id": None, "error": error}, 404)
        opened[-1] -= 1
        return None

    return mcp(tool("a"), tool("b", **READS), before=session)


# Envelopes


def says(method: str, body: str) -> Agent:
    """Answers one method with this text, in which ID stands for the request's identifier."""

    def answer(asked: Asked) -> Response | None:
        if asked.method != method:
            return None
        return Response(body.replace("ID", json.dumps(asked.message.get("id"))), media_type="application/json")

    return mcp(tool("a"), before=answer)


def both(asked: Asked) -> Response | None:
    """Every answer has a result and an error, one of them null."""
    results = {"ping": {}, "tools/list": {"tools": [tool("a")]}}
    results["initialize"] = {
        "protocolVersion": "2025-11-25",
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "odd", "version": "1"},
    }
    if "id" not in asked.message:
        return None
    error = None if asked.method in results else {"code": -32601, "message": "no"}
    body = {"jsonrpc": "2.0", "id": asked.message["id"], "result": results.get(asked.method), "error": error}
    return JSONResponse(body)


def confused(asked: Asked) -> Response | None:
    return JSONResponse({"jsonrpc": "2.0", "id": 7007, "result": {}}) if "id" in asked.message else None


def with_status(status: int, *methods: str) -> Agent:
    """Answers these methods rightly, but with the status of an error."""
    good = mcp(tool("a"))

    async def answer(asked: Asked) -> Response | None:
        if asked.method not in methods:
            return None
        reply = good(asked)
        response = await reply if inspect.isawaitable(reply) else reply
        response.status_code = status
        return response

    return mcp(tool("a"), before=answer)


def opens_nothing(status: int = 200, version: str = "2025-11-25") -> Agent:
    """Has a result for initialize, and nothing else."""

    def answer(asked: Asked) -> Response:
        if asked.method != "initialize":
            return Response("oops", 500)
        info = {"name": "odd", "version": "1"}
        response = asked.result({"protocolVersion": version, "capabilities": {}, "serverInfo": info})
        response.status_code = status
        return response

    return answer


def corrected(asked: Asked) -> Response | None:
    """Answers a ping twice in one stream: as it may not, and rightly."""
    if asked.method != "ping":
        return None
    good = {"jsonrpc": "2.0", "id": asked.message["id"], "result": {}}
    body = "".join(f"data: {json.dumps(each)}\n\n" for each in (good | {"error": None}, good))
    return Response(body, media_type="text/event-stream")


_TOOLS = '{"jsonrpc":"2.0","id":ID,"result":{"tools":[{"name":"a","inputSchema":{"type":"object"%s}}]%s}}'

ROWS = [
    OddAgent("in good order", lambda: mcp(tool("a"), tool("b", **READS)), PASSING),
    OddAgent("no tools", lambda: mcp(capabilities={}), PASSING),
    OddAgent("mounted at a path of its own", lambda: mcp(tool("a")), PASSING, path="/api/v2/agent"),
    OddAgent("streams left open", lambda: mcp(before=streamed(mcp(tool("a"), tool("b", **READS)))), PASSING),
    OddAgent("nothing there", lambda: always(404, "Not Found"), FAILING, "status 404"),
    OddAgent("server error", lambda: always(500, "oops"), FAILING, "500"),
    OddAgent("a web page", lambda: always(200, "<h1>Hello</h1>", "text/html"), FAILING, "text/html"),
    # What tools say about their own business
    OddAgent("tool that wants a task",
             lambda: mcp(tool("a", execution={"taskSupport": "required"}, **READS), call=must_not_call), PASSING),
    OddAgent("tool that needs one of two",
             lambda: mcp(takes({"oneOf": [{"required": ["a"]}, {"required": ["b"]}]}), call=must_not_call), PASSING),
    OddAgent("tool that needs a property, whichever",
             lambda: mcp(takes({"minProperties": 1}), call=must_not_call), PASSING),
    OddAgent("tool whose needs are elsewhere in its schema",
             lambda: mcp(takes({"allOf": [{"$ref": "#/$defs/A"}], "$defs": {"A": {"required": ["pid"]}}}),
                         call=must_not_call), PASSING),
    OddAgent("tool that refuses", lambda: mcp(takes({}), call=refuses(isError=True)), PASSING),
    OddAgent("tool that refuses with an error",
             lambda: mcp(takes({}), call=lambda asked: asked.error(-32000, "Give either query or id")), PASSING),
    OddAgent("tool that crashes the server", lambda: mcp(takes({}), call=lambda asked: Response("oops", 500)), PARTIAL,
             "status 500"),
    # Locked doors
    OddAgent("locked", lambda: locked(401, "Bearer"), INCONCLUSIVE, "credential"),
    OddAgent("locked at a path of its own", lambda: locked(401, "Bearer"), INCONCLUSIVE, "credential", path="/api"),
    OddAgent("locked without a challenge", lambda: locked(401), INCONCLUSIVE, "credential"),
    OddAgent("locked with 403", lambda: locked(403), INCONCLUSIVE, "credential", path="/agent"),
    OddAgent("wants payment", lambda: locked(402, page={"x402Version": 1, "accepts": []}), INCONCLUSIVE, "credential"),
    OddAgent("several challenges on lines of their own",
             lambda: locked(401, 'Basic realm="x"', 'Bearer realm="mcp", resource_metadata="BASE/meta"'), INCONCLUSIVE),
    OddAgent("challenge in another case, with spaces",
             lambda: locked(401, 'bearer Resource_Metadata = "BASE/meta"'), INCONCLUSIVE),
    OddAgent("only the list of tools is locked", lambda: locked(401, "Bearer", at=("tools/list",)), INCONCLUSIVE,
             "credential"),
    OddAgent("only calls are locked", lambda: locked(403, 'Bearer error="insufficient_scope"', at=("tools/call",)),
             INCONCLUSIVE, "credential"),
    OddAgent("takes the credential", lambda: locked(401, "Bearer", token="open-sesame"), PASSING, token="open-sesame"),
    OddAgent("refuses the credential", lambda: locked(401, "Bearer", token="open-sesame"), INCONCLUSIVE,
             "refused the credential", token="another-word"),
    OddAgent("refuses the credential at calls", lambda: locked(403, at=("tools/call",)), INCONCLUSIVE,
             "refused the credential", token="another-word"),
    # Versions
    OddAgent("superseded version", lambda: mcp(tool("a"), version="2024-11-05"), PASSING),
    OddAgent("version that nobody published", lambda: mcp(tool("a"), version="1999-01-01"), PARTIAL, "1999-01-01"),
    *(OddAgent(f"newest version only, {code}", lambda code=code: newest_only(code), PASSING)
      for code in (-32020, -32601, -32602, -32022)),
    OddAgent("newest version only, refused with 200", lambda: newest_only(-32601, 200), PASSING),
    OddAgent("newest version only, but not that either", lambda: opens_nothing(version="2026-07-28"), PARTIAL,
             "a version that has no initialize"),
    OddAgent("deprecated transport", lambda: legacy, INCONCLUSIVE, "deprecated HTTP+SSE transport", path="/sse"),
    # What stands in front
    OddAgent("limits how often it is asked", lambda: limited(5, 1.0), PASSING),
    OddAgent("limits, and does not say until when", lambda: limited(5, 1.0, header=False), PASSING),
    OddAgent("not available for a moment", lambda: limited(5, 1.0, status=503), PASSING),
    OddAgent("limited for an hour", lambda: always(429, "", Retry_After="3600"), INCONCLUSIVE, "3,600 s"),
    OddAgent("in maintenance for an hour", lambda: always(503, "", Retry_After="3600"), INCONCLUSIVE, "HTTP 503"),
    OddAgent("bot wall that says so", lambda: always(403, "", cf_mitigated="challenge"), INCONCLUSIVE, "bot wall"),
    OddAgent("bot wall with a page", lambda: always(503, _JUST_A_MOMENT, "text/html"), INCONCLUSIVE, "bot wall"),
    OddAgent("larger than we read", lambda: always(200, "x" * 9_000_000, "application/json"), INCONCLUSIVE, "larger"),
    OddAgent("redirects to where a test may not go", lambda: always(307, "", location="http://169.254.169.254/"),
             FAILING, "redirects a POST"),
    OddAgent("list of tools of 5 MB", lambda: mcp(before=many), PASSING),
    OddAgent("list of tools of 5 MB in a stream", lambda: mcp(before=streamed(mcp(before=many))), PASSING),
    *(row for name, status, headers, token in (
        ("walls off", 403, {"cf_mitigated": "challenge"}, None),
        ("puts off", 429, {"Retry_After": "99"}, None),
        ("locks", 403, {}, "another-word"),
      ) for row in (
        OddAgent(f"{name} what only a test asks", lambda s=status, h=headers: evading(always(s, **h)), INCONCLUSIVE,
                 token=token),
        OddAgent(f"{name} what only a test asks, and is broken", token=token, verdict=PARTIAL, says="500",
                 make=lambda s=status, h=headers: evading(always(s, **h), "ping", "tools/list")),
      )),
    # Sessions
    OddAgent("sessions that end", lambda: ending(3), PASSING),
    # Envelopes
    OddAgent("result beside an error", lambda: mcp(before=both), FAILING, "both a result and an error"),
    *(OddAgent(f"opens nothing, with {status}", lambda status=status: opens_nothing(status), FAILING,
               f"a result with the error status {status}") for status in (400, 404, 418)),
    *(OddAgent(f"results with {status}", lambda status=status: with_status(status, "ping", "tools/list"), PARTIAL,
               f"a result with the error status {status}") for status in (500, 503)),
    OddAgent("forbidden answer before a good one", lambda: mcp(before=corrected), PARTIAL,
             "both a result and an error"),
    OddAgent("identifier as text", lambda: says("ping", '{"jsonrpc":"2.0","id":"ID","result":{}}'), PARTIAL,
             "does not belong to the request"),
    OddAgent("identifier of another request, always", lambda: mcp(before=confused), FAILING, "does not belong"),
    OddAgent("NaN", lambda: says("tools/list", _TOOLS % (',"x":{"default":NaN}', "")), PARTIAL, "NaN"),
    OddAgent("half a surrogate pair", lambda: says("tools/list", _TOOLS % (',"x":"cut \\ud83d"', "")), PARTIAL,
             "half a surrogate"),
    OddAgent("byte order mark", lambda: says("tools/list", "\ufeff" + _TOOLS % ("", "")), PARTIAL, "byte order mark"),
    OddAgent("cursor that is null", lambda: says("tools/list", _TOOLS % ("", ',"nextCursor":null')), PARTIAL,
             "nextCursor is null"),
    OddAgent("result twice", lambda: says("ping", '{"jsonrpc":"2.0","id":ID,"result":{},"result":{}}'), PARTIAL,
             "twice"),
    OddAgent("crash at an unknown method",
             lambda: says("assay/no-such-method",
                          '{"jsonrpc":"2.0","id":ID,"error":{"code":-32603,"message":"oops"}}'), PARTIAL, "-32603"),
    OddAgent("crash at an unknown tool",
             lambda: says("tools/call", '{"jsonrpc":"2.0","id":ID,"error":{"code":-32603,'
                          '"message":"Traceback (most recent call last): KeyError"}}'), PARTIAL, "stack trace"),
]  # fmt: skip
