"""The baseline's questions to an A2A agent: its card, its interfaces, and what it does not know."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

from a2a.compat.v0_3 import types as old_types
from a2a.types.a2a_pb2 import SendMessageResponse
from a2a.types.a2a_pb2 import Task as NewTask
from pydantic import TypeAdapter, ValidationError

from compliance.engines.catalog import StepSpec
from compliance.engines.http.jsonrpc import error_of, message_of, pointer, read_json
from compliance.engines.reports.builder import ReportBuilder, StepResult
from compliance.engines.suites.a2a.client import JSONRPC, Answer, Caller, Interface
from compliance.engines.suites.a2a.message_schema import STRUCTURE
from compliance.engines.suites.a2a.opening import (
    HOW_CALLED,
    SPOKEN,
    Card,
    ask_all,
    check_answers,
    check_door,
    check_found,
    check_reached,
    check_required,
    is_taken,
    reach_card,
)
from compliance.engines.suites.a2a.session import check_error_code, first_flaw
from compliance.engines.suites.assertions import locked_out

_SPEC = "https://a2a-protocol.org/latest/specification/"
_MAX_INTERFACES = 5
_METHOD_NOT_FOUND = -32601
_INVALID_REQUEST = -32600  # what the official Python SDK of A2A 0.2 says of an unknown method
_TASK_NOT_FOUND = -32001
_GREETING = "Hello"
_OLD_ANSWER: TypeAdapter[Any] = TypeAdapter(old_types.Task | old_types.Message)
_OLD_TASK: TypeAdapter[Any] = TypeAdapter(old_types.Task)


async def converse(run: ReportBuilder) -> None:
    """The whole conversation. What breaks in here is raised to the engine; an agent's faults are steps."""
    card = await reach_card(run, "a2a/auth")
    if card is None or not await _card(run, card):
        return
    found = await _interfaces(run, card.interfaces())
    if found is None:
        return
    caller, answer = found
    if not await check_door(run, "a2a/auth", caller, answer):
        return
    if run.wants("a2a/errors"):
        await _errors(run, caller, answer)
    if run.wants("a2a/task"):
        await _task(run, caller)


async def _card(run: ReportBuilder, card: Card) -> bool:
    with run.step("a2a/card", "found") as step:
        check_found(run, step, card)
    skills = card.document.get("skills")
    count = len(skills) if isinstance(skills, list) else 0
    run.observe("skills", count)
    with run.step("a2a/card", "valid") as step:
        read = await check_required(run, ("a2a/card", "found"), step, card)
        if not read.problem:
            step.passed(f"Complete, with {count} skill{'s' if count != 1 else ''}")
    return read.card is not None


async def _interfaces(run: ReportBuilder, declared: list[Interface]) -> tuple[Caller, Answer] | None:
    """Whether each declared interface answers. The one to ask further, with its answer about a task that there is not.

    JSON-RPC is preferred, because more can be asked there.
    """
    # Those that can be asked first, where a card declares more than are looked at.
    looked_at = sorted(declared, key=lambda i: i.binding not in SPOKEN)[:_MAX_INTERFACES]
    run.expected_steps += len(looked_at)
    spoken = [interface for interface in looked_at if interface.binding in SPOKEN]
    asked = {caller.interface.number: (caller, answer) for caller, answer in await ask_all(run, spoken)}
    taken = is_taken(run, (answer for _, answer in asked.values()))
    opened = []
    for interface in looked_at:
        spec = StepSpec(
            f"interface/{interface.number + 1}",
            f"The {interface.binding or 'unnamed'} interface answers",
            "An answer of the declared binding at the declared address",
            f"{_SPEC}#446-agentinterface",
        )
        with run.step("a2a/interfaces", spec) as step:
            if not interface.binding:
                step.failed("The card does not name its binding")
            elif interface.number not in asked:
                step.silent(f"{HOW_CALLED.get(interface.binding, 'This binding')} is not spoken by this engine")
            elif await check_answers(run, step, *asked[interface.number], taken=taken):
                opened.append(asked[interface.number])
    check_reached(run, declared, [answer for _, answer in asked.values()])
    if not opened:
        run.stop_reason = run.stop_reason or "Left out: no interface of the card answers"
        return None
    found = min(opened, key=lambda o: (o[1].wants_credential, o[0].interface.binding != JSONRPC))
    run.protocol_version = found[0].interface.version  # a card alone may be all that is left of an agent (E5)
    return found


async def _errors(run: ReportBuilder, caller: Caller, answer: Answer) -> None:
    with run.step("a2a/errors", "unknown_method") as step:
        if caller.interface.binding != JSONRPC:
            step.not_applicable("Over HTTP an operation is an address and no method")
        else:
            body = {"jsonrpc": "2.0", "id": str(uuid4()), "method": "AssayNoSuchMethod", "params": {}}
            sent = answer.exchange.request_headers
            exchange = await run.http.send("POST", caller.interface.url, sent, json.dumps(body).encode())
            message, wrong = message_of(exchange)
            code, _ = error_of(message)
            if code == _INVALID_REQUEST and not wrong and caller.interface.version.startswith("0.2"):
                step.exchange = exchange
                step.silent("Error -32600 (invalid request) in place of -32601, as from the official SDK of A2A 0.2")
            else:
                check_error_code(run, step, exchange, _METHOD_NOT_FOUND)
    with run.step("a2a/errors", "unknown_task") as step:
        step.exchange = answer.exchange
        if not answer.over_http:
            check_error_code(run, step, answer.exchange, _TASK_NOT_FOUND)
        elif problem := read_json(bytes(answer.exchange.body)).problem:
            step.failed(f"Status {answer.exchange.status} with a body that is {problem}", at="/response/body")
        elif answer.exchange.status == 404:
            step.passed("Status 404")
        else:
            said = "A result, as if the task existed" if answer.has_result else answer.words
            step.failed(said, at="/response/status")


async def _task(run: ReportBuilder, caller: Caller) -> None:
    if not run.option("allow_side_effects"):
        for key in ("message", "get_task"):
            with run.step("a2a/task", key) as step:
                step.skipped("Would set the agent to work, which this suite's options do not allow")
        return
    task: dict[str, Any] | None = None
    interface = caller.interface
    with run.step("a2a/task", "message") as step:
        if interface.is_old and interface.binding != JSONRPC:
            step.not_applicable("Messages of version 0.3 are sent over JSON-RPC alone")
        else:
            answer = await caller.ask("SendMessage", _greeting(interface))
            step.exchange = answer.exchange
            if _is_answered(run, step, answer):
                task = _check_message(step, answer, is_old=interface.is_old)
    with run.step("a2a/task", "get_task") as step:
        if task is None:
            step.not_applicable("The agent did not answer with a task")
            return
        answer = await caller.ask("GetTask", {"id": task["id"]})
        step.exchange = answer.exchange
        if _is_answered(run, step, answer):
            _check_task(step, answer, task["id"], is_old=interface.is_old)


def _greeting(interface: Interface) -> dict[str, Any]:
    if interface.is_old:
        parts = [{"kind": "text", "text": _GREETING}]
        said = {"kind": "message", "messageId": str(uuid4()), "role": "user", "parts": parts}
        return {"message": said, "configuration": {"acceptedOutputModes": [], "blocking": True}}
    return {"message": {"messageId": str(uuid4()), "role": "ROLE_USER", "parts": [{"text": _GREETING}]}}


def _is_answered(run: ReportBuilder, step: StepResult, answer: Answer) -> bool:
    """Whether there is a result to look at; otherwise the step says what there is."""
    if not locked_out(run, step, answer.exchange) and not answer.has_result:
        step.failed(answer.words, at=answer.root)
    return answer.has_result and step.verdict is None


def _check_message(step: StepResult, answer: Answer, *, is_old: bool) -> dict[str, Any] | None:
    """Check the answer to a message. The task, when it is a usable one."""
    problem, at = _old_problem(_OLD_ANSWER, answer.result) if is_old else _problem(SendMessageResponse, answer.result)
    if problem:
        step.failed(f"The result cannot be read: {problem}", at=answer.root + at)
        return None
    task: dict[str, Any] | None = answer.result if is_old else answer.result.get("task")
    if task is None or (is_old and task.get("kind") == "message"):
        step.passed("A message")
        return None
    root = answer.root + ("" if is_old else "/task")
    if _state(task) == "failed":
        step.failed("The task failed", at=f"{root}/status/state")
    else:
        step.passed(f"A task in state {_state(task)}")
    return task


def _check_task(step: StepResult, answer: Answer, task_id: str, *, is_old: bool) -> None:
    problem, at = _old_problem(_OLD_TASK, answer.result) if is_old else _problem(NewTask, answer.result)
    if problem:
        step.failed(f"The result cannot be read: {problem}", at=answer.root + at)
    elif answer.result["id"] != task_id:
        step.failed("Another task was answered", at=f"{answer.root}/id")
    else:
        step.passed(f"Read back in state {_state(answer.result)}")


def _problem(message: type[SendMessageResponse | NewTask], value: Any) -> tuple[str, str]:
    flaw = first_flaw(message.DESCRIPTOR, value, STRUCTURE)
    return (str(flaw), flaw.at) if flaw else ("", "")


def _old_problem(kind: TypeAdapter[Any], value: Any) -> tuple[str, str]:
    try:
        kind.validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        at = pointer(part for part in first["loc"] if part not in ("Task", "Message"))
        return f"{at or '(root)'}: {first['msg']}", at
    return "", ""


def _state(task: dict[str, Any]) -> str:
    return str(task["status"]["state"]).removeprefix("TASK_STATE_").replace("_", " ").lower()
