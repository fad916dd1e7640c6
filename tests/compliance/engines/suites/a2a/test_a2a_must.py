"""The suite a2a-must against the official SDK's server as a process, and against agents that get one thing wrong."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs

import pytest

from compliance.engines import Overall, Report, get_engine
from compliance.engines.reports.model import Verdict
from compliance.engines.reports.validation import accepted
from compliance.engines.suites.a2a.catalog import MUST
from compliance.engines.suites.a2a.plan import FUNCTIONS, GROUPS
from tests.compliance.engines.servers import PATIENT, QUICK, bound, serving, step, target
from tests.compliance.engines.suites.a2a.reference_agent import application
from tests.compliance.engines.suites.baseline.test_a2a import OLD_CARD, scripted
from tests.processes import ROOT

WORK = {"allow_side_effects": True}


async def check(url: str, **changes: Any) -> Report:
    values: dict[str, Any] = {"protocol": "a2a", "suite": "a2a-must", "limits": PATIENT, "deadline": 40.0}
    report = await get_engine("a2a").run(target(url, **(values | changes)))
    return accepted(report, engine="a2a", suite="a2a-must")


def failed(report: Report) -> set[str]:
    return {f"{s.key}/{each.key}" for _, s, each in report.steps() if each.verdict is Verdict.FAILED}


def verdicts(report: Report, key: str) -> list[str]:
    return [each.verdict.value for _, s, each in report.steps() if f"{s.key}/{each.key}".startswith(key)]


# Software that is not ours


@contextmanager
def reference(*flags: str) -> Iterator[str]:
    command = [sys.executable, "-m", "tests.compliance.engines.suites.a2a.reference_agent", *flags]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


@pytest.mark.processes
@pytest.mark.parametrize("flags", [(), ("streaming", "push"), ("message", "streaming"), ("old", "streaming")])
async def test_server_made_of_the_official_parts_passes(flags: tuple[str, ...]) -> None:
    with reference(*flags) as url:
        quiet, working = await check(url), await check(url, options=WORK)

    for report in (quiet, working):
        assert failed(report) == set()
        assert report.harness_error == ""
        assert report.overall() is Overall.PASSING
        assert report.protocol_version == "1.0"
        assert not report.full
    for binding in ("jsonrpc", "http_json"):
        assert set(verdicts(quiet, f"{binding}/messages")) == {"skipped"}
        assert step(working, f"{binding}/messages", "send").verdict == "passed"
        assert step(working, f"{binding}/streaming", "stream").verdict == "passed"
        assert step(working, f"{binding}/streaming", "end").verdict == (
            "passed" if "streaming" in flags else "not_applicable"
        )
    assert step(working, "interop", "results").verdict == "passed"
    assert set(verdicts(quiet, "v03/jsonrpc")) == {"passed" if "old" in flags else "not_applicable"}
    assert set(verdicts(quiet, "grpc")) == {"not_applicable"}


async def test_nothing_sets_the_agent_to_work_unasked() -> None:
    asked: list[str] = []

    def watch(heard: Heard, said: Said) -> None:
        asked.append(heard.operation)

    async with altered(watch, "streaming", "push") as url:
        await check(url)

    assert "GetTask" in asked
    assert not {name for name in asked if name.startswith(("Send", "Create"))}


# Agents that get one thing wrong: the same server, with one answer altered on its way


class Heard:
    """A request as the altering function sees it, whatever the binding."""

    def __init__(self, scope: dict[str, Any], body: bytes) -> None:
        self.path, self.body = scope["path"], body
        self.headers = {key.decode(): value.decode() for key, value in scope["headers"]}
        self.query = parse_qs(scope["query_string"].decode())
        try:
            self.json = json.loads(body or b"{}")
        except ValueError:
            self.json = {}
        self.over_http = self.path.startswith("/rest")
        self.operation = _operation(scope["method"], self.path) if self.over_http else str(self.json.get("method", ""))
        params = (
            self.json.get("params", {}) if not self.over_http else self.json | {k: v[0] for k, v in self.query.items()}
        )
        self.params: dict[str, Any] = params if isinstance(params, dict) else {}


def _operation(method: str, path: str) -> str:
    rest = path.removeprefix("/rest")
    if "pushNotificationConfigs" in rest:
        name = "TaskPushNotificationConfig"
        if rest.endswith("Configs"):
            return f"List{name}s" if method == "GET" else f"Create{name}"
        return f"Get{name}" if method == "GET" else f"Delete{name}"
    names = {"/message:send": "SendMessage", "/message:stream": "SendStreamingMessage", "/tasks": "ListTasks",
             "/extendedAgentCard": "GetExtendedAgentCard"}  # fmt: skip
    if rest in names:
        return names[rest]
    return {"cancel": "CancelTask", "subscribe": "SubscribeToTask"}.get(rest.rpartition(":")[2], "GetTask")


class Said:
    """The answer, to be altered."""

    def __init__(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        self.status, self.body = status, body
        self.headers = {key.decode().lower(): value.decode() for key, value in headers}

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @json.setter
    def json(self, value: Any) -> None:
        self.body = json.dumps(value).encode()

    def result(self, heard: Heard, change: Callable[[Any], Any]) -> None:
        """Alter the result, where there is one."""
        if self.status == 200 and self.headers.get("content-type", "").startswith("application/json"):
            value = self.json
            if heard.over_http:
                value = change(value)
            elif "result" in value:
                value["result"] = change(value["result"])
            self.json = value

    def answer(self, heard: Heard, result: Any) -> None:
        """Answer with this result instead."""
        self.status, self.headers = 200, {"content-type": "application/json"}
        self.json = result if heard.over_http else {"jsonrpc": "2.0", "id": heard.json.get("id"), "result": result}


Alter = Callable[[Heard, Said], None]


def altered(alter: Alter, *flags: str, token: str = "") -> Any:
    sock = bound()
    url = f"http://127.0.0.1:{sock.getsockname()[1]}/"
    app = application(url, *flags)

    async def front(scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        parts: list[bytes] = []
        start: dict[str, Any] = {}

        waiting = [{"type": "http.request", "body": body, "more_body": False}]

        async def again() -> Any:
            # Nobody disconnects: whoever waits for that is cancelled at the end.
            return waiting.pop() if waiting else await asyncio.get_running_loop().create_future()

        async def keep(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
            else:
                parts.append(message.get("body", b""))

        await app(scope, again, keep)
        said = Said(start["status"], start["headers"], b"".join(parts))
        heard = Heard(scope, body)
        if token and not heard.path.startswith("/.well-known") and heard.headers.get("authorization") != token:
            said = Said(401, [(b"www-authenticate", b"Bearer"), (b"content-type", b"application/json")], b"{}")
        alter(heard, said)
        said.headers.pop("content-length", None)
        headers = [(key.encode(), value.encode()) for key, value in said.headers.items()]
        headers.append((b"content-length", str(len(said.body)).encode()))
        await send({"type": "http.response.start", "status": said.status, "headers": headers})
        await send({"type": "http.response.body", "body": said.body})

    return serving(front, sock)


def yes(heard: Heard, said: Said) -> None:
    """Takes everything for granted."""
    if not heard.path.startswith("/.well-known"):
        said.answer(heard, {})


REFUSALS = {
    "jsonrpc": {
        "envelope": ("parse_error", "no_method", "wrong_jsonrpc", "unknown_method"),
        "errors": ("get_unknown", "cancel_unknown", "bad_parameter", "no_parameter", "error_object"),
        "versions": ("unknown", "header", "empty", "patch"),
        "capabilities": ("subscribe", "push_get", "push_list", "push_delete", "extended_card"),
        "messages": ("send", "non_blocking", "unknown_task", "no_parts", "push_create"),
        "streaming": ("stream",),
        "listing": ("page", "token", "size_zero", "size_large", "bad_token"),
    },
    "http_json": {
        "errors": ("get_unknown", "cancel_unknown", "bad_parameter", "error_object", "error_details"),
        "versions": ("unknown", "header", "empty", "patch"),
        "capabilities": ("subscribe", "push_get", "push_list", "push_delete", "extended_card"),
        "messages": ("send", "non_blocking", "unknown_task", "no_parts", "push_create"),
        "streaming": ("stream",),
        "listing": ("page", "token", "size_zero", "size_large", "bad_token"),
    },
}
REFUSING = {f"{b}/{g}/{key}" for b, groups in REFUSALS.items() for g, keys in groups.items() for key in keys}


async def test_agent_that_refuses_nothing_fails_wherever_it_should_have() -> None:
    async with altered(yes) as url:
        report = await check(url, options=WORK)

    assert failed(report) == REFUSING
    for _, scenario, each in report.steps():
        if each.verdict is Verdict.FAILED:
            assert each.evidence is not None, f"{scenario.key}/{each.key}"
            assert each.evidence.pointer, f"{scenario.key}/{each.key}"
            assert each.requirement
            assert each.spec_url.startswith("https://a2a-protocol.org/v1.0.0/specification/#")


async def test_agent_that_says_its_errors_wrongly_fails_wherever_one_is_named() -> None:
    def wrongly(heard: Heard, said: Said) -> None:
        if heard.over_http and said.status >= 400:
            said.json = {"error": {"code": said.status, "message": "No"}}
        elif b'"error"' in said.body and not heard.path.startswith("/.well-known"):
            value = said.json
            value["error"] = {"code": -32603, "message": "No"}
            said.json = value

    async with altered(wrongly) as url:
        report = await check(url)

    found = failed(report)
    assert {"jsonrpc/errors/get_unknown", "http_json/errors/get_unknown", "http_json/errors/error_details"} <= found
    assert "without an ErrorInfo" in step(report, "http_json/errors", "get_unknown").actual
    assert step(report, "jsonrpc/errors", "get_unknown").actual.startswith("Error -32603")


def on(*operations: str) -> Callable[[Callable[[Heard, Said], None]], Alter]:
    def wrap(change: Callable[[Heard, Said], None]) -> Alter:
        def alter(heard: Heard, said: Said) -> None:
            if heard.operation in operations and not heard.path.startswith("/.well-known"):
                change(heard, said)

        return alter

    return wrap


def on_card(change: Callable[[dict[str, Any]], Any]) -> Alter:
    def alter(heard: Heard, said: Said) -> None:
        if heard.path.startswith("/.well-known"):
            value = said.json
            change(value)
            said.json = value

    return alter


def result_of(*operations: str) -> Callable[[Callable[[Any], Any]], Alter]:
    return lambda change: on(*operations)(lambda heard, said: said.result(heard, change))


def _identifier(heard: Heard, said: Said) -> None:
    said.json = {**said.json, "id": "another"} if not heard.over_http else said.json


def _both(heard: Heard, said: Said) -> None:
    if not heard.over_http:
        said.json = {**said.json, "result": {}}


def _text(heard: Heard, said: Said) -> None:
    said.headers["content-type"] = "text/plain"


def _untyped(heard: Heard, said: Said) -> None:
    value = said.json
    value["error"]["details" if heard.over_http else "data"] = [{"reason": "TASK_NOT_FOUND"}]
    said.json = value


def _wrong_status(heard: Heard, said: Said) -> None:
    said.status = 400 if said.status == 404 else said.status


def _wrong_code(heard: Heard, said: Said) -> None:
    value = said.json
    value["error"]["code"] = 1.5
    said.json = value


def _state(state: str) -> Callable[[Any], Any]:
    def change(value: Any) -> Any:
        (value.get("task") or value)["status"]["state"] = state
        return value

    return change


def _sends_task(**more: Any) -> Callable[[Any], Any]:
    def change(value: Any) -> Any:
        value["task"].update(more)
        return value

    return change


def _without_context(value: Any) -> Any:
    value["task"].pop("contextId")
    return value


def _long_history(value: Any) -> Any:
    value["history"] = [{"messageId": str(n), "role": "ROLE_USER", "parts": [{"text": "x"}]} for n in range(3)]
    return value


def _page(**more: Any) -> Callable[[Any], Any]:
    return lambda value: value | more


def _task(number: int, **more: Any) -> dict[str, Any]:
    status = {"state": "TASK_STATE_COMPLETED", "timestamp": f"2026-01-0{number}T00:00:00Z"}
    return {"id": f"t{number}", "contextId": "c", "status": status} | more


def _stream(change: Callable[[list[Any]], list[Any]]) -> Alter:
    def alter(heard: Heard, said: Said) -> None:
        events = [json.loads(line[5:]) for line in said.body.splitlines() if line.startswith(b"data:")]
        payloads = [event if heard.over_http else event["result"] for event in events]
        body = [
            payload if heard.over_http else {"jsonrpc": "2.0", "id": heard.json["id"], "result": payload}
            for payload in change(payloads)
        ]
        said.body = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in body)

    return on("SendStreamingMessage")(alter)


def _other_task(events: list[Any]) -> list[Any]:
    events[1]["statusUpdate"]["taskId"] = "another"
    return events


def _snake(card: dict[str, Any]) -> None:
    card["default_input_modes"] = card.pop("defaultInputModes")


def _signed(header: str) -> Callable[[dict[str, Any]], Any]:
    protected = base64.urlsafe_b64encode(header.encode()).decode().rstrip("=")
    return lambda card: card.update(signatures=[{"protected": protected, "signature": "x"}])


def _interface(**more: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda card: card["supportedInterfaces"][0].update(more)


def _bearer(card: dict[str, Any]) -> None:
    card["securitySchemes"] = {"token": {"httpAuthSecurityScheme": {"scheme": "bearer"}}}
    card["securityRequirements"] = [{"schemes": {"token": {}}}]


def _capabilities(**more: Any) -> Alter:
    return on_card(lambda card: card["capabilities"].update(more))


def _open_card(heard: Heard, said: Said) -> None:
    _capabilities(extendedAgentCard=True)(heard, said)
    if heard.operation == "GetExtendedAgentCard":
        said.answer(heard, {"name": "Secret"})


def _not_json(heard: Heard, said: Said) -> None:
    said.headers["content-type"], said.body = "text/html", b"<html>"


MESSAGES, TASK = ("SendMessage",), ("GetTask",)
CASES: dict[str, tuple[str, Alter]] = {
    "card/available": ("", on_card(lambda card: None)),
    "card/required": ("", on_card(lambda card: card.pop("description"))),
    "card/serialized": ("", on_card(_snake)),
    "card/interfaces": ("", on_card(_interface(protocolVersion="one"))),
    "card/signatures": ("", on_card(_signed('{"alg": "ES256"}'))),
    "security/enforced": ("", on_card(_bearer)),
    "security/invalid": ("", on_card(_bearer)),
    "jsonrpc/interface/answers": ("", on("GetTask")(_not_json)),
    "jsonrpc/envelope/identifiers": ("", on("GetTask")(_identifier)),
    "jsonrpc/envelope/response": ("", on("GetTask")(_both)),
    "jsonrpc/envelope/media_type": ("", on("GetTask")(_text)),
    "http_json/envelope/media_type": ("", on("GetTask")(_text)),
    "http_json/errors/get_unknown": ("", on("GetTask")(_wrong_status)),
    "jsonrpc/errors/error_object": ("", on("GetTask")(_wrong_code)),
    "jsonrpc/errors/error_details": ("", on("GetTask")(_untyped)),
    "jsonrpc/capabilities/extended_card_closed": ("", _open_card),
    "interop/errors": ("", on("CancelTask")(lambda heard, said: heard.over_http or said.answer(heard, {}))),
    "interop/capabilities": (
        "", on("GetExtendedAgentCard")(lambda heard, said: heard.over_http or said.answer(heard, {}))),
    "interop/results": ("", on("ListTasks")(
        lambda heard, said: heard.over_http or said.result(heard, _page(tasks=[_task(1)], totalSize=1)))),
    "jsonrpc/messages/blocking": ("work", result_of(*MESSAGES)(_state("TASK_STATE_WORKING"))),
    "jsonrpc/messages/context": ("work", result_of(*MESSAGES)(_without_context)),
    "jsonrpc/messages/unique": ("work", result_of(*MESSAGES)(_sends_task(id="always the same"))),
    "jsonrpc/messages/get": ("work", result_of(*TASK)(lambda task: task | {"id": "another"})),
    "jsonrpc/messages/history": ("work", result_of(*TASK)(_long_history)),
    "jsonrpc/messages/mismatch": ("work", on("SendMessage")(
        lambda heard, said: said.answer(heard, {"task": _task(1)})
        if "contextId" in heard.params.get("message", {}) else None)),
    "jsonrpc/messages/content_type": ("work", on("SendMessage")(
        lambda heard, said: setattr(said, "body", said.body.replace(b'"result"', b'"error"'))
        if b"unheard" in heard.body else None)),
    "jsonrpc/messages/extension": ("work", _capabilities(extensions=[{"uri": "urn:x", "required": True}])),
    "jsonrpc/messages/terminal_send": ("work", on("SendMessage")(
        lambda heard, said: said.answer(heard, {"task": _task(1)})
        if heard.params.get("message", {}).get("taskId") else None)),
    "jsonrpc/messages/terminal_cancel": ("work", on("CancelTask")(lambda heard, said: said.answer(heard, _task(1)))),
    "jsonrpc/messages/terminal_subscribe": (
        "work", on("SubscribeToTask")(lambda heard, said: said.answer(heard, {"task": _task(1)}))),
    "jsonrpc/streaming/events": ("work streaming", _stream(lambda events: [*events, {"task": {}}])),
    "http_json/streaming/events": ("work streaming", _stream(lambda events: [*events, {"nothing": 1}])),
    "jsonrpc/streaming/pattern": ("work streaming", _stream(_other_task)),
    "http_json/streaming/pattern": ("work streaming", _stream(lambda events: events[1:])),
    "jsonrpc/streaming/end": ("work streaming", _stream(lambda events: events[:2])),
    "http_json/streaming/end": ("work streaming", _stream(lambda events: [*events, events[1]])),
    "jsonrpc/listing/cursor": (
        "", result_of("ListTasks")(_page(tasks=[_task(1)], nextPageToken="x", totalSize=9))),
    "jsonrpc/listing/order": ("", result_of("ListTasks")(_page(tasks=[_task(1), _task(2)]))),
    "jsonrpc/listing/artifacts": ("", result_of("ListTasks")(_page(tasks=[_task(1, artifacts=[])]))),
    "jsonrpc/listing/serialized": ("", result_of("ListTasks")(_page(tasks=[_task(1, context_id="c")]))),
}  # fmt: skip


@pytest.mark.parametrize("key", CASES)
async def test_each_check_is_seen_to_fail(key: str) -> None:
    flags, alter = CASES[key]
    if key == "card/available":

        def alter(heard: Heard, said: Said) -> None:
            if heard.path.startswith("/.well-known"):
                said.headers["content-type"] = "text/plain"

    scenario, _, name = key.rpartition("/")
    work = WORK if "work" in flags else {}
    async with altered(alter, *flags.replace("work", "").split()) as url:
        report = await check(url, options=work | {"scenarios": [scenario]})

    assert report.harness_error == ""
    assert step(report, scenario, name).verdict == "failed", step(report, scenario, name).actual
    assert step(report, scenario, name).evidence is not None


async def test_interfaces_that_ask_for_different_credentials_fail() -> None:
    def alter(heard: Heard, said: Said) -> None:
        if heard.over_http and heard.headers.get("authorization") != "Bearer tok3n":
            said.status, said.body = 401, b"{}"
            said.headers["www-authenticate"] = "Bearer"

    async with altered(alter) as url:
        report = await check(url, token="tok3n")

    assert step(report, "interop", "credentials").verdict == "failed"
    assert "HTTP+JSON: credentials are asked for" in step(report, "interop", "credentials").actual


SEEN_ELSEWHERE = {"interop/credentials", "security/unauthorized", "security/accepted", "security/encrypted",
                  "grpc/interface/answers", "http_json/interface/answers"}  # fmt: skip


def test_every_check_is_among_those_that_were_seen_to_fail() -> None:
    shown = {
        key.partition("/")[2] if key.startswith(("jsonrpc/", "http_json/")) else key for key in REFUSING | CASES.keys()
    }
    own = {f"{group.key}/{check.key}" for group in GROUPS for check in group.checks}
    asking = {f"{group.key}/{check.key}" for group in GROUPS for check in group.checks if check.refuses}
    assert own == FUNCTIONS.keys() | asking, "each check has its function, or says what has to be refused"
    whole = {
        f"{scenario.key}/{each.key}"
        for track in MUST.tracks
        for scenario in track.scenarios
        for each in scenario.steps
        if not scenario.key.startswith(("jsonrpc/", "http_json/", "connectivity", "v03"))
    }
    assert (own | whole) - shown - SEEN_ELSEWHERE == set()


# Doors, addresses and time


async def test_agent_that_wants_a_token_is_inconclusive_without_one() -> None:
    async with altered(lambda heard, said: None, token="Bearer tok3n") as url:
        report = await check(url)

    assert report.locked
    assert report.overall() is Overall.INCONCLUSIVE
    assert step(report, "security", "unauthorized").verdict == "passed"
    assert set(verdicts(report, "jsonrpc/errors")) == {"skipped"}


async def test_declared_credentials_are_asked_of_everybody() -> None:
    async with altered(on_card(_bearer), token="Bearer tok3n") as url:
        report = await check(url, token="tok3n")
        refused = await check(url, token="wrong")

    assert failed(report) == set()
    for key in ("unauthorized", "accepted", "enforced", "invalid"):
        assert step(report, "security", key).verdict == "passed"
    assert failed(refused) == {"security/accepted"}
    assert refused.overall() is Overall.INCONCLUSIVE  # the secret was ours to supply
    assert "refused the credential (HTTP 401)" in refused.headline()


async def test_a_refused_token_is_known_as_such_whatever_comes_with_the_401() -> None:  # R7
    def bare(heard: Heard, said: Said) -> None:
        if said.status == 401:
            said.headers, said.body = {"www-authenticate": "Bearer", "content-type": "text/plain"}, b"go away"

    async with altered(bare, token="Bearer tok3n") as url:
        report = await check(url, token="wrong")

    assert failed(report) == {"security/accepted"}
    assert report.overall() is Overall.INCONCLUSIVE
    assert "refused the credential (HTTP 401)" in report.headline()


async def test_an_interface_that_refuses_what_another_takes_is_at_fault() -> None:
    def alter(heard: Heard, said: Said) -> None:
        if heard.over_http:
            said.status, said.headers, said.body = 401, {"content-type": "text/plain"}, b"go away"

    async with altered(alter) as url:
        report = await check(url, token="tok3n")

    assert "http_json/interface/answers" in failed(report)
    assert report.overall() is Overall.PARTIAL


@pytest.mark.parametrize("token", [None, "wrong"])
async def test_an_agent_of_the_older_version_behind_a_door_is_not_failing(token: str | None) -> None:  # R7
    async with serving(scripted(OLD_CARD, token="tok3n")) as url:
        report = await check(url, token=token)
        opened = await check(url, token="tok3n")

    assert failed(report) == (set() if token is None else {"security/accepted"})
    assert (report.overall(), report.locked) == (Overall.INCONCLUSIVE, token is None)
    assert set(verdicts(report, "v03/jsonrpc")) == {"skipped"}
    assert set(verdicts(opened, "v03/jsonrpc")) != {"skipped"}


async def test_door_without_a_challenge_fails_where_the_rest_can_be_seen() -> None:  # E4
    def alter(heard: Heard, said: Said) -> None:
        said.headers.pop("www-authenticate", None)

    async with altered(alter, token="Bearer tok3n") as url:
        report = await check(url, token="tok3n")
        locked = await check(url)

    assert step(report, "security", "unauthorized").verdict == "failed"
    assert step(locked, "security", "unauthorized").verdict == "silent"
    assert locked.overall() is Overall.INCONCLUSIVE


async def test_interface_at_a_forbidden_address_is_not_tested_and_the_others_are() -> None:  # V7, E1
    async with altered(on_card(_interface(url="http://10.0.0.1/"))) as url:
        report = await check(url)

    assert step(report, "jsonrpc/interface", "answers").verdict == "not_tested"
    assert "may not go" in step(report, "jsonrpc/interface", "answers").actual
    assert step(report, "http_json/errors", "get_unknown").verdict == "passed"


async def test_a_wall_before_one_operation_is_not_held_against_the_agent() -> None:  # E1
    def wall(heard: Heard, said: Said) -> None:
        if heard.operation == "CancelTask" and not heard.over_http:
            said.status, said.headers = 403, {"cf-mitigated": "challenge"}

    async with altered(wall) as url:
        report = await check(url)

    assert failed(report) == set()
    assert step(report, "interop", "errors").verdict == "not_tested"
    assert report.overall() is Overall.INCONCLUSIVE
    assert "bot wall" in report.headline()


async def test_public_interface_without_encryption_fails() -> None:
    async with altered(on_card(_interface(url="http://agent.example/"))) as url:
        report = await check(url, options={"scenarios": ["security"]})

    assert step(report, "security", "encrypted").verdict == "failed"


async def test_grpc_interface_is_silent_and_says_why() -> None:
    grpc = {"url": "127.0.0.1:9", "protocolBinding": "GRPC", "protocolVersion": "1.0"}
    async with altered(on_card(lambda card: card["supportedInterfaces"].append(grpc))) as url:
        report = await check(url, options={"scenarios": ["grpc/interface"]})

    assert step(report, "grpc/interface", "answers").verdict == "silent"


async def test_address_where_nothing_listens_is_failing() -> None:
    with bound() as closed:
        report = await check(f"http://127.0.0.1:{closed.getsockname()[1]}/")

    assert report.overall() is Overall.FAILING
    assert step(report, "connectivity/reach", "reachable").verdict == "failed"


async def test_spent_deadline_is_inconclusive() -> None:
    async with altered(lambda heard, said: None) as url:
        report = await check(url, deadline=0.0, limits=QUICK)

    assert report.truncated
    assert report.overall() is Overall.INCONCLUSIVE


async def test_secret_is_in_no_evidence() -> None:  # V1
    token = "must-s3cr3t"
    echo = on("GetTask")(lambda heard, said: setattr(said, "body", said.body[:-1] + b', "echo": "must-s3cr3t"}'))
    async with altered(echo, token=f"Bearer {token}") as url:
        report = await check(url, token=token, all_evidence=True)

    assert token not in repr(report)


@pytest.mark.parametrize("key", ["parse_error", "no_method", "unknown_method", "get_unknown", "cancel_unknown",
                                 "resubscribe", "push", "identifier"])  # fmt: skip
async def test_each_check_of_the_older_version_is_seen_to_fail(key: str) -> None:
    def alter(heard: Heard, said: Said) -> None:
        if not heard.over_http and "a2a-version" not in heard.headers:
            if key == "identifier":
                said.json = {**said.json, "id": "another"} if b'"error"' in said.body else said.json
            else:
                yes(heard, said)

    async with altered(alter, "old") as url:
        report = await check(url, options={"scenarios": ["v03/jsonrpc"]})

    assert step(report, "v03/jsonrpc", key).verdict == "failed"


async def test_unknown_task_of_the_older_version_over_http_is_seen_to_fail() -> None:
    async with altered(lambda heard, said: yes(heard, said) if "/v1/" in heard.path else None, "old") as url:
        report = await check(url, options={"scenarios": ["v03/http_json"]})

    assert step(report, "v03/http_json", "get_unknown").verdict == "failed"
