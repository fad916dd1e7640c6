"""Real local servers for the engine tests: ASGI apps, and raw sockets for what no server library would do."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from compliance.engines import Limits, Report, Target, get_engine
from compliance.engines.reports.model import Step

QUICK = Limits(step_seconds=0.4)  # for agents that hang; the others get time enough for a busy machine
PATIENT = Limits(step_seconds=8)
LOCAL = ("127.0.0.1", "localhost")
SERVER_INFO = {"name": "scripted", "version": "1"}


def target(url: str, **changes: Any) -> Target:
    values: dict[str, Any] = {"protocol": "mcp", "limits": PATIENT, "allow": LOCAL, "deadline": 20.0}
    return Target(url, **(values | changes))


async def check(url: str, **changes: Any) -> Report:
    return await get_engine("baseline").run(target(url, **changes))


def step(report: Report, scenario: str, key: str) -> Step:
    return next(step for _, s, step in report.steps() if s.key == scenario and step.key == key)


def bound() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.bind(("127.0.0.1", 0))
    return sock


class _Server(uvicorn.Server):
    def capture_signals(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    async def main_loop(self) -> None:
        # Without polling: most of a test's time would be the wait for the next tick.
        self.stopping = asyncio.Event()
        await self.on_tick(0)
        await self.stopping.wait()


@contextlib.asynccontextmanager
async def serving(app: Any, sock: socket.socket | None = None, **config: Any) -> AsyncIterator[str]:
    """An ASGI app on a port of its own; yields the address without a path.

    config: for uvicorn, such as the files of a certificate.
    """
    sock = sock or bound()
    server = _Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1, **config))
    running = asyncio.create_task(server.serve(sockets=[sock]))
    while not hasattr(server, "stopping"):
        await asyncio.sleep(0)
    try:
        yield f"{'https' if config.get('ssl_certfile') else 'http'}://127.0.0.1:{sock.getsockname()[1]}"
    finally:
        server.stopping.set()
        await running
        sock.close()


Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def raw(talk: Talk, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """A server that reads one request's head and then does as it likes."""
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                head = await reader.readuntil(b"\r\n\r\n")
                for line in head.lower().split(b"\r\n"):
                    if line.startswith(b"content-length:"):
                        await reader.readexactly(int(line.split(b":")[1]))
                await talk(reader, writer)
        finally:
            tasks.discard(task)
            writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}/mcp"
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*list(tasks), return_exceptions=True)
        await server.wait_closed()


def says(*parts: bytes) -> Talk:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()

    return talk


def head(status: str = "200 OK", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", *(f"{k.replace('_', '-')}: {v}" for k, v in headers.items()), "", ""]
    return "\r\n".join(lines).encode()


def answer(body: bytes, content_type: str = "application/json", status: str = "200 OK") -> bytes:
    return head(status, content_type=content_type, content_length=str(len(body))) + body


Reply = Callable[[dict[str, Any]], Any]


def scripted(**replies: Any) -> Starlette:
    """An MCP server by script: method (with _ for /) to a result, to a Response, or to a function of the request."""
    script: dict[str, Any] = {
        "initialize": {
            "protocolVersion": "2025-11-25",
            "capabilities": {"tools": {}},
            "serverInfo": SERVER_INFO,
        },
        "ping": {},
        "tools_list": {"tools": []},
        "tools_call": {"content": [{"type": "text", "text": "no such tool"}], "isError": True},
    } | replies

    async def endpoint(request: Request) -> Response:
        message = json.loads(await request.body())
        if "id" not in message:
            return Response(status_code=202)
        reply = script.get(message["method"].replace("/", "_"))
        if callable(reply) and not isinstance(reply, Response):
            reply = reply(message)
            if asyncio.iscoroutine(reply):
                reply = await reply
        if isinstance(reply, Response):
            return reply
        if reply is None:
            error = {"code": -32601, "message": "Method not found"}
            return JSONResponse({"jsonrpc": "2.0", "id": message["id"], "error": error})
        return JSONResponse({"jsonrpc": "2.0", "id": message["id"], "result": reply})

    return Starlette(routes=[Route("/mcp", endpoint, methods=["POST"])])


def tool(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "inputSchema": {"type": "object"}} | more
