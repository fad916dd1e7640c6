"""Whatever an A2A agent answers, no engine breaks: agents in good order with one value of an answer replaced."""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from compliance.engines import Report, get_engine
from compliance.engines.reports.validation import accepted
from tests.compliance.engines.servers import serving, target
from tests.compliance.engines.suites.baseline.test_a2a import CARD, OLD_CARD

STRANGE: list[Any] = [
    None, True, False, 0, -1, 10**400, 1.5, "", "x", " ", "\x00", "\ud800", "\u202e", "9" * 5000, "http://[", "//", "http://",
    "/a", "http://a:99999/", "http://\x00/", "file:///etc/passwd", "0.", "99.0.1.2", [], [None], [[]], [[[[]]]], {},
    {"": None}, {"url": 1}, {"id": {}}, [{}], ["task"], {"kind": "task"}, {"kind": []}, {"task": []}, "TASK_STATE_NONE",
    float("nan"), float("inf"),
]  # fmt: skip
_NAME = re.compile(r'"\w*": ')  # as json.dumps writes it
TASK = {"id": "t", "contextId": "c", "status": {"state": "TASK_STATE_COMPLETED"}, "history": [], "artifacts": []}
OLD_TASK = {"kind": "task", "id": "t", "contextId": "c", "status": {"state": "completed"}}
SECURITY = {
    "securitySchemes": {"b": {"httpAuthSecurityScheme": {"scheme": "bearer"}}},
    "signatures": [{"protected": "e30", "signature": "x"}],
    "provider": {"organization": "o", "url": "https://o.example"},
}
KNOWN = {"SendMessage": "send", "message/send": "send", "ListTasks": "list", "GetTask": "get", "tasks/get": "get"}
REST = {"url": "HERE/rest", "protocolBinding": "HTTP+JSON", "protocolVersion": "1.0", "tenant": "a"}
CARDS = [
    CARD | SECURITY | {"supportedInterfaces": [*CARD["supportedInterfaces"], REST]},
    OLD_CARD | {"protocolVersion": "0.2.6", "additionalInterfaces": [{"url": "HERE/rest", "transport": "HTTP+JSON"}]},
]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield from places(each, (*path, key))


def mutant(value: Any, choice: random.Random) -> Any:
    """The value with one place in it replaced by something strange, or gone."""
    path, made = choice.choice(list(places(value))), copy.deepcopy(value)
    if not path:
        return choice.choice(STRANGE)
    at = made
    for key in path[:-1]:
        at = at[key]
    if isinstance(at, dict) and choice.random() < 0.2:
        del at[path[-1]]
    else:
        at[path[-1]] = choice.choice(STRANGE)
    return made


def repeating(text: str, choice: random.Random) -> str:
    """The document with one name twice in an object: with something strange first, or last."""
    found = choice.choice(list(_NAME.finditer(text)))
    _, end = json.JSONDecoder().raw_decode(text, found.end())
    member, strange = text[found.start() : end], found[0] + json.dumps(choice.choice(STRANGE))
    both = (member, strange) if choice.random() < 0.5 else (strange, member)
    made = text[: found.start()] + ", ".join(both) + text[end:]
    twice: list[bool] = []
    json.loads(made, object_pairs_hook=lambda pairs: twice.append(len(dict(pairs)) < len(pairs)))
    assert any(twice), made
    return made


def agent(seed: int, *, repeats: bool = False) -> Starlette:
    """One of the agents, with its card, or its answer to one operation, replaced.

    repeats: the answer has a name twice instead.
    """
    choice = random.Random(seed)
    card = choice.choice(CARDS)
    is_old = card is CARDS[1]
    task = OLD_TASK if is_old else TASK
    error = {"code": -32001, "message": "No such task", "data": []}
    page = {"tasks": [task], "nextPageToken": "", "pageSize": 1, "totalSize": 1}
    right: dict[str, Any] = {
        "card": card,
        "send": {"jsonrpc": "2.0", "id": "ID", "result": task if is_old else {"task": task}},
        "get": {"jsonrpc": "2.0", "id": "ID", "error": error},
        "again": {"jsonrpc": "2.0", "id": "ID", "result": task},
        "list": {"jsonrpc": "2.0", "id": "ID", "result": page},
        "else": {"jsonrpc": "2.0", "id": "ID", "error": error | {"code": -32601}},
        "rest": {"error": {"code": 404, "message": "no", "details": [{"@type": "x", "reason": "y"}]}},
    }
    changed = choice.choice(sorted(right))
    right[changed] = right[changed] if repeats else mutant(right[changed], choice)
    texts = {key: json.dumps(value) for key, value in right.items()}
    if repeats:
        texts[changed] = repeating(texts[changed], choice)

    def answer(request: Request, key: str, number: Any = None, status: int = 200) -> Response:
        text = texts[key].replace('"ID"', json.dumps(number)).replace("HERE/", str(request.base_url))
        return Response(text, status, media_type="application/json")

    async def rpc(request: Request) -> Response:
        try:
            asked = await request.json()
        except ValueError:
            asked = {}
        method, params = asked.get("method"), asked.get("params") or {}
        known = {
            "SendMessage": "send",
            "message/send": "send",
            "ListTasks": "list",
            "GetTask": "get",
            "tasks/get": "get",
        }
        key = known.get(method, "else")
        if key == "get" and isinstance(params, dict) and params.get("id") == "t":
            key = "again"
        return answer(request, key, asked.get("id"))

    async def rest(request: Request) -> Response:
        return answer(request, "rest", status=404)

    async def show(request: Request) -> Response:
        return answer(request, "card")

    place = "agent.json" if is_old else "agent-card.json"
    return Starlette(
        routes=[
            Route(f"/.well-known/{place}", show),
            Route("/", rpc, methods=["POST"]),
            Route("/rest/{rest:path}", rest, methods=["GET", "POST", "DELETE"]),
        ]
    )


async def _report(engine: str, suite: str, url: str) -> Report:
    asked = target(url, protocol="a2a", suite=suite, options={"allow_side_effects": True}, deadline=30.0)
    return accepted(await get_engine(engine).run(asked), engine=engine, suite=suite)


@pytest.mark.parametrize("seed", range(0, 120, 40))
async def test_the_baseline_never_breaks(seed: int) -> None:  # R7
    for each in range(seed, seed + 40):
        async with serving(agent(each)) as url:
            report = await _report("baseline", "baseline", url)
        assert "engine" not in report.harness_error, (each, report.harness_error)


@pytest.mark.parametrize(("engine", "suite"), [("baseline", "baseline"), ("a2a", "a2a-must")])
async def test_a_name_that_stands_twice_breaks_no_engine(engine: str, suite: str) -> None:  # R7
    for each in range(2000, 2030):
        async with serving(agent(each, repeats=True)) as url:
            report = await _report(engine, suite, url)
        assert "engine" not in report.harness_error, (each, report.harness_error)


@pytest.mark.parametrize("seed", range(1000, 1040, 20))
async def test_the_suite_of_requirements_never_breaks(seed: int) -> None:  # R7
    for each in range(seed, seed + 20):
        async with serving(agent(each)) as url:
            report = await _report("a2a", "a2a-must", url)
        assert "engine" not in report.harness_error, (each, report.harness_error)
