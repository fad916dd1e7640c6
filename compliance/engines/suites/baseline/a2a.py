"""The baseline's questions to an A2A agent: its card, its interfaces, and what it does not know."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import uuid4

import httpx
import httpx2
from a2a.client import ClientConfig, ClientFactory
from a2a.helpers import new_text_message
from a2a.types import AgentCard, GetTaskRequest, Role, SendMessageRequest, Task, TaskState
from a2a.utils.errors import A2AError
from google.protobuf.json_format import ParseError
from pydantic import ValidationError

from compliance.engines.catalog import StepSpec
from compliance.engines.detection import OLD_CARD_PATH
from compliance.engines.http.exchange import Exchange, FaultKind
from compliance.engines.http.jsonrpc import error_of, message_of, wrong_at
from compliance.engines.http.transports import A2ATransport
from compliance.engines.reports.builder import ReportBuilder
from compliance.engines.reports.digest import digest_of_card
from compliance.engines.suites.a2a.card import read_card
from compliance.engines.suites.assertions import check_challenge, check_credential, reach_card

_SPEC = "https://a2a-protocol.org/latest/specification/"
_MAX_INTERFACES = 5
_NO_METHOD = "AssayNoSuchMethod"
_METHOD_NOT_FOUND = -32601
_TASK_NOT_FOUND = -32001
_GREETING = "Hello"


async def converse(run: ReportBuilder) -> None:
    """The whole conversation. What breaks in here is raised to the engine; an agent's faults are steps."""
    await _Conversation(run).perform()


class _Interface:
    """One declared interface, as far as this engine needs to know it."""

    def __init__(self, url: str, binding: str, version: str) -> None:
        self.url = url
        self.binding = binding.upper()
        self.version = version

    @property
    def is_old(self) -> bool:
        return self.version.startswith("0.")

    def headers(self) -> list[tuple[bytes, bytes]]:
        headers = [(b"Content-Type", b"application/json"), (b"Accept", b"application/json")]
        if not self.is_old:
            headers.append((b"A2A-Version", b"1.0"))
        return headers


class _Conversation:
    def __init__(self, run: ReportBuilder) -> None:
        self.run = run
        self.card: AgentCard | None = None
        self.card_exchange: Exchange | None = None
        self.rpc: _Interface | None = None
        self.unknown_method: Exchange | None = None

    async def perform(self) -> None:
        run = self.run
        document = await self._find()
        if document is None or not await self._validate(document):
            return
        interfaces = self._interfaces(document)
        if not await self._probe_interfaces(interfaces):
            return
        if run.wants("a2a/errors"):
            await self._errors()
        if run.wants("a2a/task"):
            await self._task()
        if run.wants("a2a/auth"):
            await self._auth()

    # The card

    async def _find(self) -> dict[str, Any] | None:
        run = self.run
        card = await reach_card(run, "a2a/auth", lambda exchange: (_card_problem(exchange), wrong_at(exchange)))
        if card is None:
            return None
        document, exchange, path = card.document, card.exchange, card.path
        self.card_exchange = exchange
        with run.step("a2a/card", "found") as step:
            step.exchange = exchange
            if path.endswith(OLD_CARD_PATH):
                step.failed(f"Found only under the older name, {path}", at="/request/url")
            elif exchange.media_type not in ("application/json", "application/a2a+json"):
                kind = exchange.media_type or "missing"
                step.failed(f"Found at {path}, with the content type {kind}", at="/response/headers/content-type")
            else:
                step.passed(f"Found at {path}")
        return document

    async def _validate(self, document: dict[str, Any]) -> bool:
        run = self.run
        with run.step("a2a/card", "valid") as step:
            # In a thread, so that the other runs of this process are not held up.
            self.card, problem, at = await asyncio.to_thread(read_card, document, run.target.limits.card_nodes)
            if digest := digest_of_card(document):
                run.observe("tools_digest", digest)
            run.observe("agent_name", run.said(document.get("name", ""), 100))
            run.observe("agent_version", run.said(document.get("version", ""), 50))
            skills = document.get("skills")
            run.observe("skills", len(skills) if isinstance(skills, list) else 0)
            if problem:
                at = f"/response/body{at}"
                run.keep_evidence("a2a/card", "found", at=at)
                step.found_in = self.card_exchange
                step.failed(problem, at=at)
            else:
                count = run.observations["skills"]
                step.passed(f"Complete, with {count} skill{'s' if count != 1 else ''}")
        if self.card is None:
            run.stop_reason = "Left out: the agent card cannot be used"
        return self.card is not None

    # Interfaces

    def _interfaces(self, document: dict[str, Any]) -> list[_Interface]:
        if self.card is None:
            return []
        found = [_Interface(i.url, i.protocol_binding, i.protocol_version) for i in self.card.supported_interfaces]
        self.rpc = next((i for i in found if i.binding == "JSONRPC"), None)
        self.run.protocol_version = (
            (self.rpc or found[0]).version if found else str(document.get("protocolVersion", ""))
        )
        return found

    async def _probe_interfaces(self, interfaces: list[_Interface]) -> bool:
        """Whether each declared interface answers. False when the agent wants a credential first."""
        run = self.run
        run.expected_steps += min(len(interfaces), _MAX_INTERFACES)
        for number, interface in enumerate(interfaces[:_MAX_INTERFACES], 1):
            spec = StepSpec(
                f"interface/{number}",
                f"The {interface.binding or 'unnamed'} interface answers",
                "An answer of the declared binding at the declared address",
                f"{_SPEC}#446-agentinterface",
            )
            with run.step("a2a/interfaces", spec) as step:
                if interface.binding == "GRPC":
                    step.silent("gRPC is not spoken by this engine")
                    continue
                exchange = await self._call_on(interface)
                if interface is self.rpc:
                    self.unknown_method = exchange
                problem, at = _interface_problem(interface, exchange)
                shut = exchange.status in (401, 403)
                if shut and (run.target.credential is None or interface is self.rpc):
                    another = "a" if run.target.credential is None else "another"
                    step.passed(f"Answered with status {exchange.status}: it wants {another} credential")
                elif problem:
                    step.failed(problem, at=at)
                else:
                    step.passed(f"Answered after {exchange.seconds * 1000:.0f} ms")
        first = self.unknown_method
        if first is None:
            run.stop_reason = "Left out: the card declares no JSON-RPC interface"
            return False
        if first.fault is not None:
            run.stop_reason = "Left out: the JSON-RPC interface does not answer"
            return False
        if first.status in (401, 403) or run.target.credential is not None:
            return check_credential(run, "a2a/auth", first)
        return True

    async def _call_on(self, interface: _Interface) -> Exchange:
        """Ask for something that no agent has: every working interface has an answer, and nothing happens."""
        http = self.run.http
        if interface.binding == "JSONRPC":
            return await http.send("POST", interface.url, interface.headers(), _request(_NO_METHOD, {}))
        base = interface.url.rstrip("/") + ("/v1" if interface.is_old else "")
        return await http.send("GET", f"{base}/tasks/{uuid4()}", interface.headers())

    # Errors, credentials, and a task

    async def _errors(self) -> None:
        run = self.run
        if self.rpc is None or self.unknown_method is None:
            return
        with run.step("a2a/errors", "unknown_method") as step:
            step.exchange = self.unknown_method
            message, wrong = message_of(self.unknown_method)
            code, text = error_of(message)
            if code == _METHOD_NOT_FOUND:
                step.passed("Error -32601")
            elif code is not None:
                step.failed(f"Error {code}: {text}", at="/response/body/error/code")
            elif wrong:
                step.failed(f"Answered with {wrong}", at=wrong_at(self.unknown_method))
            else:
                step.failed("A result, as if the method existed", at="/response/body/result")
        with run.step("a2a/errors", "unknown_task") as step:
            body = _request("tasks/get" if self.rpc.is_old else "GetTask", {"id": str(uuid4())})
            exchange = await run.http.send("POST", self.rpc.url, self.rpc.headers(), body)
            message, wrong = message_of(exchange)
            code, text = error_of(message)
            if wrong:
                step.failed(f"Answered with {wrong}", at=wrong_at(exchange))
            elif code is None:
                step.failed("A result, as if the task existed", at="/response/body/result")
            elif code == _METHOD_NOT_FOUND:
                step.failed(
                    "Error -32601: the agent does not know how to look up a task", at="/response/body/error/code"
                )
            else:
                step.passed(f"Error {code}" + ("" if code == _TASK_NOT_FOUND else f": {text}"))

    async def _auth(self) -> None:
        run = self.run
        if self.rpc is None:
            return
        if run.target.credential is None:
            for key in ("unauthorized", "accepted"):
                with run.step("a2a/auth", key) as step:
                    step.not_applicable("The agent answers without credentials")
            return
        body = _request(_NO_METHOD, {})
        probe = await run.http.send("POST", self.rpc.url, self.rpc.headers(), body, with_credential=False)
        check_challenge(run, "a2a/auth", probe)

    async def _task(self) -> None:
        run = self.run
        if self.card is None or self.rpc is None:
            return
        if not run.option("allow_side_effects"):
            for key in ("message", "get_task"):
                with run.step("a2a/task", key) as step:
                    step.skipped("Would set the agent to work, which this suite's options do not allow")
            return
        task: Task | None = None
        transport = A2ATransport(run.http)  # which keeps the time
        async with httpx.AsyncClient(transport=transport, trust_env=False, timeout=None) as sdk_http:  # noqa: S113
            client = ClientFactory(ClientConfig(httpx_client=sdk_http, streaming=False)).create(self.card)
            with run.step("a2a/task", "message") as step:
                request = SendMessageRequest(message=new_text_message(_GREETING, role=Role.ROLE_USER))
                try:
                    answers = [answer async for answer in client.send_message(request)]
                except (A2AError, ParseError, ValidationError, ValueError, KeyError, TypeError) as error:
                    step.failed(*self._send_problem(error))
                else:
                    task = next((answer.task for answer in answers if answer.HasField("task")), None)
                    said = f"A task in state {_state(task)}" if task is not None else "A message"
                    if task is not None and not (task.id and task.status.state):
                        step.failed(
                            "The result cannot be read: a task needs an identifier and a state",
                            at="/response/body/result/task",
                        )
                        task = None
                    elif task is not None and task.status.state == TaskState.TASK_STATE_FAILED:
                        step.failed("The task failed", at="/response/body/result/task/status/state")
                    else:
                        step.passed(said)
            with run.step("a2a/task", "get_task") as step:
                if task is None:
                    step.not_applicable("The agent did not answer with a task")
                    return
                try:
                    again = await client.get_task(GetTaskRequest(id=task.id))
                except (A2AError, ParseError, ValidationError, ValueError, KeyError, TypeError) as error:
                    step.failed(*self._send_problem(error))
                else:
                    if again.id == task.id:
                        step.passed(f"Read back in state {_state(again)}")
                    else:
                        step.failed("Another task was answered", at="/response/body/result/id")

    def _send_problem(self, error: Exception) -> tuple[str, str]:
        """What the HTTP client saw, which says more than the SDK's exception, and where."""
        exchange = self.run.http.exchanges[-1]
        message, wrong = message_of(exchange)
        code, text = error_of(message)
        if code is not None:
            return f"Error {code}: {text}", "/response/body/error"
        if wrong:
            return f"Answered with {wrong}", wrong_at(exchange)
        return f"The result cannot be read: {self.run.said(error, 200)}", "/response/body/result"


def _request(method: str, params: dict[str, Any]) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": str(uuid4()), "method": method, "params": params}).encode()


def _card_problem(exchange: Exchange) -> str:
    if exchange.status == 200:
        return f"{httpx2.URL(exchange.url).path} answered with something else"
    return f"status {exchange.status} at {httpx2.URL(exchange.url).path}"


def _interface_problem(interface: _Interface, exchange: Exchange) -> tuple[str, str]:
    """What is wrong with an interface's answer, in words, and where; ("", "") when nothing is."""
    fault = exchange.fault
    if fault is not None and fault.kind is FaultKind.REFUSED:
        return f"The card points to where a test may not go: {fault.message}", "/request/url"
    if fault is not None:
        return fault.message, "/response/fault"
    if interface.binding == "JSONRPC":
        message, wrong = message_of(exchange)
        return ("", "") if message is not None else (f"Answered with {wrong}", wrong_at(exchange))
    if exchange.status >= 500:
        return f"Answered with status {exchange.status}", "/response/status"
    if exchange.media_type not in ("application/json", "application/a2a+json", "application/problem+json"):
        return f"Answered with status {exchange.status} and no JSON", "/response/headers/content-type"
    return "", ""


def _state(task: Task) -> str:
    return str(TaskState.Name(task.status.state)).removeprefix("TASK_STATE_").replace("_", " ").lower()
