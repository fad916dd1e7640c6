"""The baseline against A2A agents: one built with the SDK, and scripted ones that get things wrong."""

from __future__ import annotations

import asyncio
import copy
import json
import random
import time
from collections.abc import Callable
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from compliance.demo_agents.a2a_agents import translator
from compliance.engines import Overall, Report, Target, get_engine
from compliance.engines.contract import Credential
from tests.compliance.engines import servers
from tests.compliance.engines.servers import QUICK, bound, serving, step

CARD: dict[str, Any] = {
    "name": "Scripted",
    "description": "Says what it is told to",
    "version": "1.0.0",
    "capabilities": {},
    "defaultInputModes": ["text/plain"],
    "defaultOutputModes": ["text/plain"],
    "skills": [{"id": "s", "name": "Say", "description": "Says it", "tags": ["talk"]}],
    "supportedInterfaces": [{"url": "HERE/", "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}],
}
OLD_CARD: dict[str, Any] = {k: v for k, v in CARD.items() if k != "supportedInterfaces"} | {
    "url": "HERE/",
    "protocolVersion": "0.3.0",
    "preferredTransport": "JSONRPC",
}
TOKEN = "a2a-s3cr3t"


async def check(url: str, **changes: Any) -> Report:
    return await servers.check(url, **({"protocol": "a2a"} | changes))


def scripted(
    card: Any = CARD,
    path: str = "/.well-known/agent-card.json",
    token: str = "",
    media_type: str = "application/json",
    shut: int = 401,
    **replies: Any,
) -> Starlette:
    """An A2A agent by script; HERE in the card stands for its own address."""

    def wants_token(request: Request) -> bool:
        return bool(token) and request.headers.get("authorization") != f"Bearer {token}"

    async def show_card(request: Request) -> Response:
        text = card if isinstance(card, str) else json.dumps(card)
        return Response(text.replace("HERE/", str(request.base_url)), media_type=media_type)

    async def rpc(request: Request) -> Response:
        if wants_token(request):
            return Response(status_code=shut, headers={"www-authenticate": "Bearer"})
        message = await request.json()
        reply = replies.get(message["method"].replace("/", "_"))
        if isinstance(reply, Response):
            return reply
        if reply is None:
            known = message["method"] in ("GetTask", "tasks/get")
            code = -32001 if known else -32601
            error = {"code": code, "message": "No such task" if known else "No such method"}
            return JSONResponse({"jsonrpc": "2.0", "id": message["id"], "error": error})
        return JSONResponse({"jsonrpc": "2.0", "id": message["id"], "result": reply})

    return Starlette(routes=[Route(path, show_card), Route("/", rpc, methods=["POST"])])


async def test_agent_built_with_the_sdk_passes() -> None:
    sock = bound()
    url = f"http://127.0.0.1:{sock.getsockname()[1]}/"
    async with serving(translator(url), sock):
        report = await check(url)

    assert report.overall() is Overall.PASSING
    assert (report.protocol, report.protocol_version) == ("a2a", "1.0")
    assert step(report, "a2a/errors", "unknown_task").actual == "Error -32001"
    assert step(report, "a2a/task", "message").verdict == "skipped"
    assert report.observations["skills"] == 1


async def test_message_is_sent_and_its_task_read_back_when_side_effects_are_allowed() -> None:
    sock = bound()
    url = f"http://127.0.0.1:{sock.getsockname()[1]}/"
    async with serving(translator(url), sock):
        report = await check(url, options={"allow_side_effects": True})

    assert step(report, "a2a/task", "message").actual == "A task in state completed"
    assert step(report, "a2a/task", "get_task").actual == "Read back in state completed"
    assert report.overall() is Overall.PASSING


async def test_no_message_is_sent_otherwise() -> None:
    asked: list[str] = []
    app = scripted()

    async def watched(scope, receive, send):
        async def look():
            message = await receive()
            asked.append(message.get("body", b"").decode())
            return message

        await app(scope, look, send)

    async with serving(watched) as url:
        await check(url)

    assert not [body for body in asked if "SendMessage" in body or "message/send" in body]


async def test_agent_of_the_older_version_passes() -> None:
    async with serving(scripted(OLD_CARD)) as url:
        report = await check(url)

    assert report.overall() is Overall.PASSING, report.headline()
    assert report.protocol_version == "0.3.0"


async def test_message_to_an_agent_of_the_older_version_is_understood() -> None:
    task = {"kind": "task", "id": "t1", "contextId": "c1", "status": {"state": "completed"}}
    async with serving(scripted(OLD_CARD, message_send=task, tasks_get=task)) as url:
        report = await check(url, options={"allow_side_effects": True})

    assert step(report, "a2a/task", "message").actual == "A task in state completed"
    assert step(report, "a2a/task", "get_task").verdict == "passed"


FIRST_CARD = {k: v for k, v in OLD_CARD.items() if k not in ("preferredTransport", "protocolVersion")}


@pytest.mark.parametrize("version", ["", "0.2.0", "0.2.5", "0.2.6"])
async def test_agent_of_version_0_2_passes_with_its_card_under_the_older_name(version: str) -> None:  # E8
    task = {"kind": "task", "id": "t1", "contextId": "c1", "status": {"state": "completed"}}
    card = FIRST_CARD | ({"protocolVersion": version} if version else {})
    async with serving(scripted(card, "/.well-known/agent.json", message_send=task)) as url:
        report = await check(url, protocol="", options={"allow_side_effects": True})

    assert step(report, "a2a/card", "found").verdict == "passed"
    assert step(report, "a2a/task", "message").actual == "A task in state completed"
    assert "old_version" in {notice.code for notice in report.notices}
    assert report.protocol_version == (version or "0.2")
    assert [s.key for _, _, s in report.steps() if s.verdict == "failed"] == ["get_task"]  # its script knows no task


async def test_card_under_the_older_name_fails_that_step_alone() -> None:
    async with serving(scripted(path="/.well-known/agent.json")) as url:
        report = await check(url)

    assert step(report, "a2a/card", "found").verdict == "failed"
    assert step(report, "a2a/card", "valid").verdict == "passed"
    assert report.overall() is Overall.PARTIAL


async def test_card_below_the_agents_own_path_is_found() -> None:
    async with serving(scripted(path="/agents/one/.well-known/agent-card.json")) as url:
        report = await check(f"{url}/agents/one")

    assert step(report, "a2a/card", "found").verdict == "passed"


def _interface(url: str, binding: str = "JSONRPC", version: str = "1.0") -> dict[str, Any]:
    return {"url": url, "protocolBinding": binding, "protocolVersion": version}


def _declaring(*interfaces: dict[str, Any]) -> dict[str, Any]:
    return CARD | {"supportedInterfaces": list(interfaces)}


@pytest.mark.parametrize(
    "card",
    [
        _declaring(_interface("HERE/agents/one")),
        _declaring(_interface("HERE/agents/one/")),
        _declaring(_interface("http://other.example/"), _interface("HERE/agents/one", "HTTP+JSON")),
        OLD_CARD | {"url": "HERE/agents/one"},
        OLD_CARD | {"additionalInterfaces": [{"url": "HERE/agents/one", "transport": "JSONRPC"}]},
    ],
    ids=["address", "slash", "second", "old", "old-additional"],
)
async def test_card_at_the_root_counts_when_it_names_the_registered_address(card: dict[str, Any]) -> None:  # E2
    async with serving(scripted(card)) as url:
        report = await check(f"{url}/agents/one")

    assert step(report, "a2a/card", "found").verdict == "passed"


@pytest.mark.parametrize("protocol", ["a2a", ""])
@pytest.mark.parametrize("place", ["/.well-known/agent-card.json", "/.well-known/agent.json"])
@pytest.mark.parametrize(
    "card",
    [CARD, _declaring(_interface("HERE/agents/alpha")), _declaring(_interface("HERE/agents/ghost2")), OLD_CARD,
     _declaring(_interface("HERE/agents/ghost?a=b")), _declaring(), _declaring(_interface("http://["))],
    ids=["root", "other", "longer", "old", "query", "none", "malformed"],
)  # fmt: skip
async def test_nothing_passes_by_the_card_of_another_agent(card: dict[str, Any], place: str, protocol: str) -> None:
    # E2: the address itself answers 404 to everything
    async with serving(scripted(card, place)) as url:
        report = await check(f"{url}/agents/ghost", protocol=protocol)

    assert report.overall() is Overall.FAILING
    assert "is of another agent" in step(report, "connectivity/reach", "speaks").actual


async def test_no_card_is_failing() -> None:
    async with serving(Starlette()) as url:
        report = await check(url)

    assert report.overall() is Overall.FAILING
    assert "no agent card" in step(report, "connectivity/reach", "speaks").actual
    assert step(report, "a2a/card", "valid").verdict == "skipped"


def _without(*path: Any) -> dict[str, Any]:
    card = copy.deepcopy(CARD)
    at: Any = card
    for key in path[:-1]:
        at = at[key]
    del at[path[-1]]
    return card


@pytest.mark.parametrize(
    ("card", "place", "pointer"),
    [
        (_without("name"), "/name", "/response/body"),
        (_without("skills"), "/skills", "/response/body"),
        (_without("skills", 0, "id"), "/skills", "/response/body/skills/0"),
        (CARD | {"skills": [CARD["skills"][0] | {"id": ""}]}, "/skills", "/response/body/skills/0/id"),
        (
            _without("supportedInterfaces", 0, "protocolBinding"),
            "/supported_interfaces",
            "/response/body/supportedInterfaces/0",
        ),
        (CARD | {"skills": "all of them"}, "cannot be read", "/response/body"),
        (CARD | {"skills": [{"id": 3}]}, "cannot be read", "/response/body/skills"),
        (CARD | {"capabilities": ["streaming"]}, "cannot be read", "/response/body/capabilities"),
        (CARD | {"securitySchemes": [1]}, "cannot be read", "/response/body"),
        ({k: v for k, v in OLD_CARD.items() if k != "skills"}, "/skills", "/response/body"),
        (OLD_CARD | {"version": 3}, "/version", "/response/body/version"),
    ],
)
async def test_incomplete_card_fails_and_names_the_place(card: dict[str, Any], place: str, pointer: str) -> None:
    async with serving(scripted(card)) as url:
        report = await check(url)

    assert step(report, "a2a/card", "valid").verdict == "failed"
    assert place in step(report, "a2a/card", "valid").actual
    for key in ("found", "valid"):
        evidence = step(report, "a2a/card", key).evidence
        assert evidence is not None
        assert evidence.pointer == pointer
    assert report.harness_error == ""


@pytest.mark.parametrize(
    "text", ["<html>", "[]", "{}", '{"name": "x"}', "[" * 100_000, "\x00", '{"skills": 1, "url": 2}']
)
async def test_document_that_is_no_card_is_failing(text: str) -> None:
    async with serving(scripted(text)) as url:
        report = await check(url)

    assert report.harness_error == ""
    assert report.overall() in (Overall.FAILING, Overall.PARTIAL)


async def test_interface_that_does_not_answer_fails() -> None:
    with bound() as closed:
        port = closed.getsockname()[1]
        second = {"url": f"http://127.0.0.1:{port}/", "protocolBinding": "HTTP+JSON", "protocolVersion": "1.0"}
        async with serving(scripted(CARD | {"supportedInterfaces": [*CARD["supportedInterfaces"], second]})) as url:
            report = await check(url)

    assert step(report, "a2a/interfaces", "interface/1").verdict == "passed"
    assert "nothing listens there" in step(report, "a2a/interfaces", "interface/2").actual


REST = _interface("HERE/rest", "HTTP+JSON")


@pytest.mark.parametrize(
    ("interfaces", "words"),
    [
        ([_interface("http://127.0.0.1:9/", "GRPC")], "gRPC alone"),
        ([_interface("HERE/", "https://example.com/our-binding")], "https://example.com/our-binding alone"),
        ([_interface("http://10.0.0.1/")], "an address that may be tested"),
        ([_interface("http://10.0.0.1/"), _interface("HERE/", "GRPC")], "an address that may be tested"),
    ],
    ids=["grpc", "custom", "private", "both"],
)
async def test_nothing_declared_that_was_spoken_to_is_inconclusive(interfaces: list[Any], words: str) -> None:  # E2
    async with serving(scripted(_declaring(*interfaces))) as url:
        baseline = await check(url)
        must = await get_engine("a2a").run(servers.target(url, protocol="a2a", suite="a2a-must"))

    for report in (baseline, must):
        assert report.overall() is Overall.INCONCLUSIVE
        assert words in report.headline()
        assert not [each for _, _, each in report.steps() if each.verdict == "failed" and "encrypted" not in each.key]
    assert step(baseline, "a2a/errors", "unknown_task").verdict == "not_tested"


@pytest.mark.parametrize("binding", ["JSONRPC", "HTTP+JSON"])
async def test_a_card_whose_interfaces_are_at_dead_ports_is_inconclusive(binding: str) -> None:  # E2
    with bound() as closed:
        dead = f"http://127.0.0.1:{closed.getsockname()[1]}/"
        async with serving(scripted(_declaring(_interface(dead, binding), _interface(dead, "GRPC")))) as url:
            report = await check(url)

    assert step(report, "a2a/interfaces", "interface/1").verdict == "failed"
    assert report.overall() is Overall.INCONCLUSIVE
    assert "nothing listens there" in report.headline()


def _everywhere(reply: Response) -> Any:
    """Its card, and one answer to whatever else is asked."""

    async def agent(scope: Any, receive: Any, send: Any) -> None:
        card_is_asked = scope["type"] == "http" and scope["path"] == "/.well-known/agent-card.json"
        await (scripted(_declaring(REST)) if card_is_asked else reply)(scope, receive, send)

    return agent


class _Echoing(JSONResponse):
    """Not found, in words that name the address and the time."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        said = {"error": "Not Found", "path": scope["path"], "timestamp": time.time()}
        await JSONResponse(said, 404)(scope, receive, send)


class _Tracing(JSONResponse):
    """Not found, with an identifier of the request that has no number in it."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        trace = "".join(random.choices("kqxzvw", k=12))
        await JSONResponse({"message": f"Nothing here, see {trace}", "trace": [trace]}, 404)(scope, receive, send)


@pytest.mark.parametrize(
    "reply",
    [
        JSONResponse({"detail": "Not Found"}, 404),
        JSONResponse({"error": {"code": 404, "message": "Not Found"}}, 404),
        JSONResponse({"status": "ok"}),
        JSONResponse({"message": "Forbidden"}, 405),
        JSONResponse([], 404),
        Response("not found", 404),
        Response(status_code=404),
        JSONResponse({"error": {"code": 503, "message": "x"}}, 503),
        _Echoing(None),
        _Tracing(None),
    ],
    ids=["detail", "status", "ok", "405", "list", "text", "empty", "503", "echo", "trace"],
)
async def test_a_rest_address_that_answers_everything_alike_does_not_pass(reply: Response) -> None:  # E2
    async with serving(_everywhere(reply)) as url:
        report = await check(url, protocol="")

    assert report.protocol == "a2a"
    assert step(report, "a2a/interfaces", "interface/1").verdict == "failed"
    assert report.overall() is Overall.PARTIAL


@pytest.mark.parametrize(("late", "verdict"), [(True, Overall.INCONCLUSIVE), (False, Overall.PARTIAL)])
async def test_nothing_passes_by_a_comparison_that_was_not_answered(late: bool, verdict: Overall) -> None:  # E2
    async def agent(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or "/tasks/" in scope["path"] or "well-known" in scope["path"]:
            await _everywhere(JSONResponse({"message": "none"}, 404))(scope, receive, send)
        elif late and scope["path"].startswith("/rest/"):
            await Response(status_code=429, headers={"retry-after": "99"})(scope, receive, send)
        elif scope["path"].startswith("/rest/"):
            await asyncio.Event().wait()
        else:
            await Response(status_code=404)(scope, receive, send)

    async with serving(agent, lifespan="off") as url:
        report = await check(url, limits=QUICK)

    found = step(report, "a2a/interfaces", "interface/1")
    assert found.verdict == ("not_tested" if late else "failed"), found.actual
    assert "could not be compared" in found.actual
    assert report.overall() is verdict


def rest(
    *, old: bool = False, status: int = 404, code: str = "TASK_NOT_FOUND", token: str = "", shut: int = 401
) -> Any:
    """An agent with HTTP+JSON alone."""
    below = "/rest/v1" if old else "/rest"
    card = OLD_CARD | {"url": "HERE/rest", "preferredTransport": "HTTP+JSON"} if old else _declaring(REST)

    async def task(request: Request) -> Response:
        if token and request.headers.get("authorization") != f"Bearer {token}":
            return Response(status_code=shut, headers={"www-authenticate": "Bearer"})
        if old:
            return JSONResponse({"message": "Task not found"}, status)
        info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": code, "domain": "a2a-protocol.org"}
        error = {"code": status, "status": "NOT_FOUND", "message": "No task", "details": [info] if code else []}
        return JSONResponse({"error": error}, status)

    card_route = next(route for route in scripted(card).routes if getattr(route, "path", "") != "/")
    return Starlette(routes=[card_route, Route(f"{below}/tasks/{{id}}", task)])


@pytest.mark.parametrize("how", [{}, {"code": ""}, {"old": True}], ids=["error-info", "bare", "old"])
async def test_an_agent_with_http_json_alone_passes(how: dict[str, Any]) -> None:
    async with serving(rest(**how)) as url:
        report = await check(url, protocol="")

    assert report.overall() is Overall.PASSING, report.headline()
    assert step(report, "a2a/errors", "unknown_task").verdict == "passed"
    assert step(report, "a2a/errors", "unknown_method").verdict == "not_applicable"


async def test_an_unknown_task_over_http_has_status_404() -> None:  # E9
    async with serving(rest(status=400)) as url:
        report = await check(url)

    assert step(report, "a2a/errors", "unknown_task").verdict == "failed"


async def test_results_for_what_does_not_exist_fail() -> None:
    async with serving(scripted(AssayNoSuchMethod={}, GetTask={"id": "x"})) as url:
        report = await check(url)

    for key in ("unknown_method", "unknown_task"):
        failed = step(report, "a2a/errors", key)
        assert failed.verdict == "failed"
        assert failed.evidence is not None
        assert failed.evidence.pointer == "/response/body/result"


def _answering(body: Callable[[Any], str], media_type: str = "application/json") -> Any:
    """An agent whose answer about an unknown task is this text, made of the request's id."""

    async def rpc(request: Request) -> Response:
        message = await request.json()
        if message["method"] == "GetTask":
            return Response(body(message["id"]), media_type=media_type)
        error = {"code": -32601, "message": "No such method"}
        return JSONResponse({"jsonrpc": "2.0", "id": message["id"], "error": error})

    card_route = next(route for route in scripted().routes if getattr(route, "path", "") != "/")
    return Starlette(routes=[card_route, Route("/", rpc, methods=["POST"])])


def _error(number: Any, code: Any = -32001, message: Any = "none", **more: Any) -> str:
    return json.dumps({"jsonrpc": "2.0", "id": number, "error": {"code": code, "message": message}} | more)


BROKEN: dict[str, tuple[Callable[[Any], str], str]] = {
    "result beside error": (lambda n: _error(n, result={}), "both a result and an error"),
    "result beside no error": (lambda n: json.dumps({"jsonrpc": "2.0", "id": n, "result": {}, "error": None}), "both"),
    "another id": (lambda n: _error("other"), 'its id is "other"'),
    "id of another type": (lambda n: _error(7), "its id is 7"),
    "id in a list": (lambda n: _error([n]), "its id is"),
    "no id": (lambda n: _error(n).replace('"id"', '"ID"'), "another id"),
    "null for an id": (lambda n: _error(None), "another id"),
    "another version": (lambda n: _error(n).replace('"2.0"', '"1.0"'), "not a JSON-RPC 2.0 answer"),
    "version as a number": (lambda n: _error(n).replace('"2.0"', "2.0"), "not a JSON-RPC 2.0 answer"),
    "code as text": (lambda n: _error(n, "-32001"), "whole number"),
    "code with a fraction": (lambda n: _error(n, -32001.0), "whole number"),
    "no message": (lambda n: _error(n, message=None), "without a message"),
    "error as text": (lambda n: json.dumps({"jsonrpc": "2.0", "id": n, "error": "no"}), "not an object"),
    "internal error": (lambda n: _error(n, -32603, "Traceback (most recent call last)"), "Error -32603"),
    "invalid parameters": (lambda n: _error(n, -32602), "Error -32602"),
    "unknown method": (lambda n: _error(n, -32601), "Error -32601"),
    "a result": (lambda n: json.dumps({"jsonrpc": "2.0", "id": n, "result": {"id": "x"}}), "A result"),
    "not a number": (lambda n: _error(n, data=float("nan")), "NaN is no number"),
    "infinity": (lambda n: _error(n, data=float("inf")), "Infinity is no number"),
    "byte order mark": (lambda n: "\ufeff" + _error(n), "byte order mark"),
    "half a surrogate pair": (lambda n: _error(n, message="\ud800"), "half a surrogate"),
    "twice": (lambda n: _error(n).replace('"id"', '"id": 1, "id"', 1), "twice"),
    "cut short": (lambda n: _error(n)[:-1], "not valid JSON"),
    "two answers": (lambda n: _error(n) * 2, "not valid JSON"),
    "in a list": (lambda n: f"[{_error(n)}]", "not a JSON-RPC 2.0 answer"),
    "empty": (lambda n: "", "empty body"),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_an_answer_that_the_protocol_forbids_fails_for_its_true_reason(name: str) -> None:  # E9
    body, words = BROKEN[name]
    async with serving(_answering(body)) as url:
        report = await check(url)

    said = {each.actual for _, _, each in report.steps() if each.verdict == "failed"}
    assert any(words in each for each in said), said
    assert report.overall() is Overall.PARTIAL


async def test_the_same_agent_passes_with_an_answer_in_good_order() -> None:
    async with serving(_answering(_error)) as url:
        report = await check(url)

    assert report.overall() is Overall.PASSING


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: "\ufeff" + text, "byte order mark (RFC 8259, section 8.1)"),
        (lambda text: text.replace('"1.0.0"', '"1.0.0", "x": NaN', 1), "NaN is no number"),
        (lambda text: text.replace('"Scripted"', '"Scripted \\ud800"'), "half a surrogate pair"),
    ],
    ids=["mark", "nan", "surrogate"],
)
async def test_a_card_that_is_no_proper_json_is_read_and_one_check_says_so(  # E9
    change: Callable[[str], str], words: str
) -> None:
    async with serving(scripted(change(json.dumps(CARD)))) as url:
        report = await check(url, protocol="")

    assert report.protocol == "a2a"
    failed = [each.key for _, _, each in report.steps() if each.verdict == "failed"]
    assert failed == (["found", "valid"] if "surrogate" in words else ["found"])
    assert words in step(report, "a2a/card", "found").actual


async def test_digest_changes_with_the_card_but_not_with_its_signatures() -> None:
    card, digests = copy.deepcopy(CARD), []
    async with serving(scripted(card)) as url:
        for more in ({}, {"signatures": [{"protected": "e30", "signature": "x"}]}, {"description": "Another"}):
            card.update(more)
            digests.append((await check(url)).observations["tools_digest"])

    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ({}, "cannot be read"),
        ({"task": "one"}, "cannot be read"),
        (Response("oops", 500), "status 500"),
        (Response("{", media_type="application/json"), "not valid JSON"),
        ({"task": {"id": "1", "contextId": "2", "status": {"state": "TASK_STATE_FAILED"}}}, "The task failed"),
    ],
)
async def test_message_answered_with_something_else_fails(reply: Any, words: str) -> None:
    async with serving(scripted(SendMessage=reply)) as url:
        report = await check(url, options={"allow_side_effects": True})

    assert step(report, "a2a/task", "message").verdict == "failed"
    assert words in step(report, "a2a/task", "message").actual


async def test_agent_that_wants_a_token_is_inconclusive_without_one() -> None:
    async with serving(scripted(token=TOKEN)) as url:
        report = await check(url)

    assert report.overall() is Overall.INCONCLUSIVE
    assert step(report, "a2a/auth", "unauthorized").verdict == "passed"
    assert step(report, "a2a/errors", "unknown_task").verdict == "skipped"


def guarded_card(status: int) -> Any:
    """An agent that shows not even its card without its token."""
    app = scripted(token=TOKEN)

    async def agent(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and dict(scope["headers"]).get(b"authorization") != f"Bearer {TOKEN}".encode():
            refusal = JSONResponse({"message": "sign in"}, status, {"www-authenticate": "Bearer"})
            await refusal(scope, receive, send)
        else:
            await app(scope, receive, send)

    return agent


GUARDED = {
    "card": guarded_card,
    "jsonrpc": lambda status: scripted(token=TOKEN, shut=status),
    "rest": lambda status: rest(token=TOKEN, shut=status),
    "old": lambda status: scripted(OLD_CARD, token=TOKEN, shut=status),
    "old-rest": lambda status: rest(old=True, token=TOKEN, shut=status),
}


@pytest.mark.parametrize("status", [401, 402, 403])
@pytest.mark.parametrize("where", GUARDED)
async def test_a_guarded_agent_is_locked_and_not_broken(where: str, status: int) -> None:  # E4
    async with serving(GUARDED[where](status)) as url:
        without = await check(url)
        refused = await check(url, credential=Credential("Authorization", "Bearer no", ("no",), name="Main key"))
        opened = await check(url, token=TOKEN)
        for held in (None, "no"):
            asked = servers.target(url, protocol="a2a", suite="a2a-must", token=held)
            must = await get_engine("a2a").run(asked)
            assert must.overall() is Overall.INCONCLUSIVE
            assert must.locked is (held is None)

    assert without.locked
    assert without.overall() is Overall.INCONCLUSIVE
    assert not [s for _, _, s in without.steps() if s.verdict == "failed"]
    assert refused.overall() is Overall.INCONCLUSIVE
    assert f"refused the credential “Main key” (HTTP {status})" in refused.headline()
    assert opened.overall() is Overall.PASSING


@pytest.mark.parametrize("beside", ["http://127.0.0.1:9/", "HERE/nothing-here", "http://10.0.0.1/"])
async def test_an_interface_that_is_not_there_takes_no_credential(beside: str) -> None:  # E4
    app = scripted(_declaring(_interface("HERE/"), _interface(beside, "HTTP+JSON")), token=TOKEN)
    app.routes.append(Route("/nothing-here/{rest:path}", lambda _: JSONResponse({"detail": "Not Found"}, 404)))
    async with serving(app) as url:
        report = await check(url, token="no")

    assert report.overall() is Overall.INCONCLUSIVE
    assert "refused the credential" in report.headline()


async def test_an_interface_that_refuses_what_another_takes_is_at_fault() -> None:
    door = Response(status_code=401, headers={"www-authenticate": "Bearer"})
    app = rest(token=TOKEN)
    card_route = next(each for each in scripted(_declaring(_interface("HERE/"), REST)).routes if "well" in each.path)
    agent = Starlette(routes=[card_route, Route("/", lambda _: door, methods=["POST"]), *app.routes[1:]])
    async with serving(agent) as url:
        report = await check(url, token=TOKEN)

    assert step(report, "a2a/interfaces", "interface/1").verdict == "failed"
    assert step(report, "a2a/interfaces", "interface/2").verdict == "passed"
    assert step(report, "a2a/auth", "accepted").verdict == "passed"
    assert report.overall() is Overall.PARTIAL


async def test_the_name_of_a_binding_is_known_in_any_case() -> None:
    async with serving(scripted(_declaring(_interface("HERE/", "jsonrpc")))) as url:
        report = await check(url)

    assert report.overall() is Overall.PASSING


async def test_an_interface_on_another_host_never_saw_the_credential_and_did_not_refuse_it() -> None:  # E4, V1
    sock = bound()
    elsewhere = f"http://127.0.0.1:{sock.getsockname()[1]}/"
    agent = scripted(_declaring(_interface(elsewhere)))
    async with serving(scripted(token=TOKEN), sock), serving(agent) as url:
        report = await check(url, token=TOKEN)

    assert report.locked
    assert report.overall() is Overall.INCONCLUSIVE
    assert "refused" not in report.headline()
    assert "sent to the registered host alone" in step(report, "a2a/auth", "accepted").actual


@pytest.mark.parametrize("token", [None, "no"])
async def test_a_door_at_messages_alone_is_locked_too(token: str | None) -> None:  # E4
    door = Response(status_code=401, headers={"www-authenticate": "Bearer"})
    async with serving(scripted(SendMessage=door)) as url:
        report = await check(url, token=token, options={"allow_side_effects": True})

    assert step(report, "a2a/task", "message").verdict == ("skipped" if token is None else "not_tested")
    assert report.overall() is Overall.INCONCLUSIVE
    assert report.locked is (token is None)


GATEWAY = JSONResponse({"message": "Forbidden"}, 403)


@pytest.mark.parametrize("card", [CARD, OLD_CARD], ids=["1.0", "0.3"])
@pytest.mark.parametrize("token", [None, TOKEN])
async def test_a_method_that_a_gateway_does_not_let_through_is_locked(card: Any, token: str | None) -> None:  # E4
    method = {"AssayNoSuchMethod": GATEWAY, "assay_noSuchMethod": GATEWAY}
    async with serving(scripted(card, **method)) as url:
        report = await check(url, token=token)
        asked = servers.target(url, protocol="a2a", suite="a2a-must", token=token)
        must = await get_engine("a2a").run(asked)

    left_out = "skipped" if token is None else "not_tested"
    left_out = "skipped" if token is None else "not_tested"
    assert step(report, "a2a/errors", "unknown_method").verdict == left_out
    assert report.overall() is Overall.INCONCLUSIVE
    scenario = "v03/jsonrpc" if card is OLD_CARD else "jsonrpc/envelope"
    assert step(must, scenario, "unknown_method").verdict == left_out


async def test_token_opens_the_agent_and_is_in_no_evidence() -> None:  # V1
    async with serving(scripted(token=TOKEN)) as url:
        report = await check(url, token=TOKEN, options={"evidence": "all"})

    assert report.overall() is Overall.PASSING
    assert step(report, "a2a/auth", "accepted").verdict == "passed"
    assert step(report, "a2a/auth", "unauthorized").verdict == "passed"
    assert step(report, "a2a/errors", "unknown_task").verdict == "passed"
    assert TOKEN not in repr(report)


async def test_evidence_is_what_was_sent_and_received() -> None:  # E10
    async with serving(scripted(token=TOKEN)) as url:
        report = await check(url, token=TOKEN, options={"evidence": "all"})

    evidence = step(report, "a2a/errors", "unknown_task").evidence
    assert evidence is not None
    assert evidence.request is not None
    headers, body = evidence.request["headers"], evidence.request["body"]
    assert headers["host"] == url.removeprefix("http://")
    assert headers["user-agent"].startswith("Assay/")
    assert headers["accept-encoding"] == "identity"
    assert headers["authorization"] == "[redacted]"
    assert headers["a2a-version"] == "1.0"
    assert body["method"] == "GetTask"
    assert int(headers["content-length"]) == len(json.dumps(body))
    bare = step(report, "a2a/auth", "unauthorized").evidence
    assert bare is not None
    assert bare.request is not None
    assert "authorization" not in bare.request["headers"]


ODD_PATHS = [
    "/x%09y", "/%00", "/x%0Ay", "/a%2Fb", "/%C3%A9", "/%E2%80%AE", "/a%20b", "/x%7F", "/%FF", "/a%3Fb",
    "/a;b=c", "/a%25b",
]  # fmt: skip


@pytest.mark.parametrize("path", ODD_PATHS)
async def test_any_path_can_be_tested(path: str) -> None:  # R7
    async def agent(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            below = scope["raw_path"].decode()
            assert below.startswith((path, "/.well-known"))
            at = below.removeprefix(path) or "/"
            await scripted(_declaring(_interface(f"HERE{path}")))({**scope, "path": at, "raw_path": at}, receive, send)

    async with serving(agent) as url:
        report = await check(url + path, protocol="")

    assert report.protocol == "a2a"
    assert report.overall() is Overall.PASSING, report.headline()


async def test_token_that_is_refused_says_that_it_is_wrong_and_not_the_agent() -> None:  # R7
    async with serving(scripted(token=TOKEN)) as url:
        report = await check(url, token="another")

    assert step(report, "a2a/auth", "accepted").verdict == "failed"
    assert step(report, "a2a/errors", "unknown_task").verdict == "skipped"
    assert {s.key for _, _, s in report.steps() if s.verdict == "failed"} == {"accepted"}
    assert report.overall() is Overall.INCONCLUSIVE
    assert "The agent refused the credential (HTTP 401)" in report.headline()


async def test_agent_that_hangs_is_failing() -> None:
    async def hang(reader, writer):
        await reader.read()

    async with servers.raw(hang) as url:
        report = await check(url, limits=QUICK)

    assert report.overall() is Overall.FAILING
    assert step(report, "connectivity/reach", "reachable").actual == "No answer within 0.4 s"


def test_target_shows_no_token() -> None:  # V1
    assert TOKEN not in repr(Target("https://agent.example", token=TOKEN))
