"""MCP servers in good order, but for one thing each."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from starlette.responses import Response, StreamingResponse

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


def open_stream(asked: Asked) -> Response | None:
    """An event stream that stays open after the answer."""
    plain = mcp(tool("a"), tool("b", **READS))
    if asked.verb != "POST" or "id" not in asked.message:
        return None

    async def events() -> AsyncIterator[bytes]:
        answer = plain(asked)
        response = await answer if inspect.isawaitable(answer) else answer
        yield b"event: message\ndata: " + bytes(response.body) + b"\n\n"
        await asyncio.Event().wait()

    return StreamingResponse(events(), media_type="text/event-stream")


ROWS = [
    OddAgent("in good order", lambda: mcp(tool("a"), tool("b", **READS)), PASSING),
    OddAgent("streams left open", lambda: mcp(before=open_stream), PASSING),
    OddAgent("no tools", lambda: mcp(capabilities={}), PASSING),
    OddAgent("mounted at a path of its own", lambda: mcp(tool("a")), PASSING, path="/api/v2/agent"),
    OddAgent("superseded version", lambda: mcp(tool("a"), version="2024-11-05"), PASSING),
    OddAgent("nothing there", lambda: lambda asked: Response("Not Found", 404), FAILING, "status 404"),
    OddAgent("server error", lambda: lambda asked: Response("oops", 500), FAILING, "500"),
]
