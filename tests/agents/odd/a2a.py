"""A2A agents in good order, but for one thing each."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from starlette.responses import JSONResponse, Response

from compliance.engines import Overall
from tests.agents.odd.table import Agent, Asked, OddAgent

PASSING, PARTIAL, FAILING, INCONCLUSIVE = Overall.PASSING, Overall.PARTIAL, Overall.FAILING, Overall.INCONCLUSIVE
CARD_PATH, OLD_CARD_PATH = "/.well-known/agent-card.json", "/.well-known/agent.json"
DEAD = "http://127.0.0.1:9"  # the port of the discard service, where nothing listens
TOKEN = "odd-t0ken"
JSONRPC: tuple[str, str, str] = ("BASE/a2a", "JSONRPC", "1.0")
REST: tuple[str, str, str] = ("BASE/rest", "HTTP+JSON", "1.0")

Part = Callable[[Asked], Response | None]


def card(*interfaces: tuple[str, str, str], **more: Any) -> dict[str, Any]:
    return {
        "name": "Odd",
        "description": "An odd agent",
        "version": "1.0.0",
        "capabilities": {},
        "defaultInputModes": ["text/plain"],
        "defaultOutputModes": ["text/plain"],
        "skills": [{"id": "s", "name": "Say", "description": "Says it", "tags": ["talk"]}],
        "supportedInterfaces": [
            {"url": url, "protocolBinding": binding, "protocolVersion": version}
            for url, binding, version in interfaces or (JSONRPC,)
        ],
    } | more


def old_card(version: str = "0.3.0", **more: Any) -> dict[str, Any]:
    """A card of a version before 1.0, or of one before cards said their version."""
    made = {name: value for name, value in card().items() if name != "supportedInterfaces"} | {"url": "BASE/a2a"}
    return made | ({"protocolVersion": version} if version else {}) | more


def a2a(
    shown: dict[str, Any] | str | None = None,
    *,
    before: Part | None = None,
    card_path: str = CARD_PATH,
    card_type: str = "application/json",
    unknown_task: Part | None = None,
) -> Agent:
    """An agent with this card, and with interfaces at /a2a and /rest. before: answers first, where it has an answer."""
    text = shown if isinstance(shown, str) else json.dumps(shown or card())

    def agent(asked: Asked) -> Response:
        if before is not None and (first := before(asked)) is not None:
            return first
        if asked.path == card_path and asked.verb == "GET":
            return Response(text.replace("BASE", asked.base), media_type=card_type)
        if asked.path == "/a2a" and asked.verb == "POST":
            if asked.method not in ("GetTask", "tasks/get"):
                return asked.error(-32601, "Method not found")
            found = unknown_task(asked) if unknown_task is not None else None
            return found or asked.error(-32001, "Task not found")
        if asked.path.startswith(("/rest/tasks/", "/rest/v1/tasks/")) and asked.verb == "GET":
            return rest_error(404, "TASK_NOT_FOUND")
        return JSONResponse({"detail": "Not Found"}, 404)

    return agent


def rest_error(status: int, reason: str = "") -> Response:
    info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "a2a-protocol.org"}
    return JSONResponse({"error": {"code": status, "message": "No", "details": [info] if reason else []}}, status)


def at(*paths: str, answer: Response) -> Part:
    """The same answer at these paths, and below them."""
    return lambda asked: answer if asked.path.startswith(paths) else None


def guarded(*paths: str, status: int = 401, challenge: str = "Bearer") -> Part:
    """Wants the token at these paths."""

    def door(asked: Asked) -> Response | None:
        if not asked.path.startswith(paths) or asked.headers.get("authorization") == f"Bearer {TOKEN}":
            return None
        headers = {"www-authenticate": challenge} if challenge else {}
        return JSONResponse({"message": "sign in"}, status, headers)

    return door


def row(name: str, make: Callable[[], Agent], verdict: Overall, says: str = "", **more: Any) -> OddAgent:
    return OddAgent(f"a2a: {name}", make, verdict, says, **({"path": "/a2a"} | more))


def task_answer(**changes: Any) -> Part:
    """An answer about an unknown task, with members of the envelope changed; None takes one away."""

    def answer(asked: Asked) -> Response:
        error = {"code": -32001, "message": "Task not found"}
        whole = {"jsonrpc": "2.0", "id": asked.message.get("id"), "error": error} | changes
        return JSONResponse({name: value for name, value in whole.items() if value is not ...})

    return answer


_OTHER = "http://other.example/a2a"
_JSON_404 = JSONResponse({"error": {"code": 404, "message": "Not Found"}}, 404)
_STACK = {"code": -32603, "message": "Traceback (most recent call last): KeyError"}

ROWS: list[OddAgent] = [
    row("in good order", lambda: a2a(), PASSING),
    row("over http alone", lambda: a2a(card(REST)), PASSING, path="/rest"),
    row("both bindings", lambda: a2a(card(JSONRPC, REST)), PASSING),
    row("version 0.3", lambda: a2a(old_card()), PASSING),
    row("version 0.3 over http", lambda: a2a(old_card(url="BASE/rest", preferredTransport="HTTP+JSON")), PASSING,
        path="/rest"),
    row("version 0.2", lambda: a2a(old_card("0.2.6"), card_path=OLD_CARD_PATH), PASSING),
    row("version 0.2 that does not say so", lambda: a2a(old_card(""), card_path=OLD_CARD_PATH), PASSING),
    row("version 1 under the older name", lambda: a2a(card_path=OLD_CARD_PATH), PARTIAL, "older name"),
    row("gRPC beside JSON-RPC", lambda: a2a(card((DEAD, "GRPC", "1.0"), JSONRPC)), PASSING, "gRPC is not spoken"),
    row("gRPC alone", lambda: a2a(card(("BASE/a2a", "GRPC", "1.0"))), INCONCLUSIVE, "gRPC alone"),
    row("a binding of its own", lambda: a2a(card(("BASE/a2a", "urn:own", "1.0"))), INCONCLUSIVE, "urn:own alone"),
    row("interface at a dead port", lambda: a2a(card(("BASE/a2a", "GRPC", "1.0"), (DEAD, "JSONRPC", "1.0"))),
        INCONCLUSIVE, "could be reached"),
    row("interface at a private address",
        lambda: a2a(card(("http://10.9.8.7/", "JSONRPC", "1.0"), ("BASE/a2a", "GRPC", "1.0"))), INCONCLUSIVE,
        "may be tested"),
    row("nothing there", lambda: lambda asked: _JSON_404, FAILING, "404"),
    row("card of another agent at the root", lambda: a2a(card(("BASE/agents/alpha", "JSONRPC", "1.0"))), FAILING,
        "another agent", path="/agents/ghost", protocol="a2a"),
    row("card of an agent elsewhere", lambda: a2a(card((_OTHER, "JSONRPC", "1.0"))), FAILING, "another agent",
        protocol="a2a"),
    row("http that answers everything alike", lambda: a2a(card(REST), before=at("/rest", answer=_JSON_404)), PARTIAL,
        "as for any other", path="/rest"),
    row("http that says yes to everything",
        lambda: a2a(card(REST), before=at("/rest", answer=JSONResponse({"status": "ok"}))), PARTIAL, "as for any other",
        path="/rest"),
    row("guarded card", lambda: a2a(before=guarded("/")), INCONCLUSIVE, "credential"),
    row("guarded card with 403", lambda: a2a(before=guarded("/", status=403)), INCONCLUSIVE, "credential"),
    row("guarded card, refused", lambda: a2a(before=guarded("/")), INCONCLUSIVE, "refused the credential",
        token="another-word"),
    row("guarded card, opened", lambda: a2a(before=guarded("/")), PASSING, token=TOKEN),
    row("guarded interface", lambda: a2a(before=guarded("/a2a")), INCONCLUSIVE, "credential"),
    row("guarded interface with 402", lambda: a2a(before=guarded("/a2a", status=402)), INCONCLUSIVE, "credential"),
    row("guarded interface, refused", lambda: a2a(before=guarded("/a2a", status=403)), INCONCLUSIVE,
        "refused the credential", token="another-word"),
    row("guarded http", lambda: a2a(card(REST), before=guarded("/rest")), INCONCLUSIVE, "credential", path="/rest"),
    row("guarded http, refused", lambda: a2a(card(REST), before=guarded("/rest")), INCONCLUSIVE,
        "refused the credential", path="/rest", token="another-word"),
    row("door without a challenge, opened", lambda: a2a(before=guarded("/a2a", challenge="")), PARTIAL,
        "without a WWW-Authenticate", token=TOKEN),
    row("card with a byte order mark", lambda: a2a("\ufeff" + json.dumps(card())), PARTIAL, "byte order mark"),
    row("card with NaN", lambda: a2a(json.dumps(card(x=float("nan")))), PARTIAL, "NaN is no number"),
    row("card as text", lambda: a2a(card_type="text/plain"), PARTIAL, "content type text/plain"),
    row("card without skills", lambda: a2a({n: v for n, v in card().items() if n != "skills"}), PARTIAL, "skills"),
    row("stack for an unknown task", lambda: a2a(unknown_task=task_answer(error=_STACK)), PARTIAL, "Error -32603"),
    row("result beside the error", lambda: a2a(unknown_task=task_answer(result=None)), PARTIAL, "both a result"),
    row("id of another type", lambda: a2a(unknown_task=task_answer(id=7)), PARTIAL, "its id is 7"),
    row("no id", lambda: a2a(unknown_task=task_answer(id=...)), PARTIAL, "another id"),
    row("task that there is not", lambda: a2a(unknown_task=task_answer(error=..., result={"id": "x"})), PARTIAL,
        "as if there were nothing to refuse"),
    row("interface that is a page", lambda: a2a(before=at("/a2a", answer=Response("<html>", 200))), PARTIAL, "instead"),
    row("interface that breaks", lambda: a2a(before=at("/a2a", answer=Response("oops", 502))), PARTIAL, "502"),
]  # fmt: skip
