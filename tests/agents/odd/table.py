"""What a row of the table is, and how its agent is served: in this process, on a port of its own."""

from __future__ import annotations

import contextlib
import inspect
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from compliance.engines import Overall
from tests.compliance.engines.servers import Talk, raw, serving


@dataclass(frozen=True, slots=True)
class Asked:
    """One request to an odd agent."""

    verb: str
    path: str
    headers: dict[str, str]  # names in lower case
    body: bytes
    base: str  # the agent's own address, without a path

    @property
    def message(self) -> dict[str, Any]:
        """The body, if it is a JSON object; else an empty one."""
        try:
            value = json.loads(self.body)
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}

    @property
    def method(self) -> str:
        return str(self.message.get("method", ""))

    def result(self, value: Any, **headers: str) -> Response:
        return JSONResponse(
            {"jsonrpc": "2.0", "id": self.message.get("id"), "result": value},
            headers={name.replace("_", "-"): text for name, text in headers.items()},
        )

    def error(self, code: int, message: str, status: int = 200) -> Response:
        error = {"code": code, "message": message}
        return JSONResponse({"jsonrpc": "2.0", "id": self.message.get("id"), "error": error}, status)


# Answers a request. None from a part of an agent: the next part answers.
Agent = Callable[[Asked], Response | Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class OddAgent:
    """One row: an agent, and the verdict that it deserves."""

    name: str  # a short phrase, unique in the table: the test's name
    make: Callable[[], Agent]  # a new agent, with nothing remembered
    verdict: Overall
    says: str = ""  # part of the headline or of some step that did not pass
    path: str = "/mcp"
    token: str | None = None  # the credential of the run; six characters or more, as credentials have
    protocol: str = ""  # "": it is asked first, as for an agent that was just registered
    talk: Talk | None = None  # instead of make, for what no HTTP server would answer


def app(agent: Agent) -> Any:
    """An agent as an ASGI application."""

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        base = f"{scope['scheme']}://{request.headers['host']}"
        headers = {name.lower(): value for name, value in request.headers.items()}
        reply = agent(Asked(request.method, request.url.path, headers, await request.body(), base))
        response = await reply if inspect.isawaitable(reply) else reply
        await response(scope, receive, send)

    return answer


@contextlib.asynccontextmanager
async def served(row: OddAgent) -> AsyncIterator[str]:
    """Yields the address to register."""
    if row.talk is not None:
        async with raw(row.talk) as url:
            yield url.removesuffix("/mcp") + row.path
        return
    async with serving(app(row.make()), lifespan="off") as url:
        yield url + row.path
