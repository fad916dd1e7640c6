"""Checks that set the agent to work: messages, their tasks, and streams. Only where side effects are allowed."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from a2a.types.a2a_pb2 import SendMessageResponse, StreamResponse, Task

from compliance.engines.http.jsonrpc import parse
from compliance.engines.reports.builder import StepResult
from compliance.engines.suites.a2a.client import JSONRPC, Answer, problem_with
from compliance.engines.suites.a2a.session import Session, check_shape, first_flaw, performs

_GREETING = "Hello"
_TERMINAL = {"TASK_STATE_COMPLETED", "TASK_STATE_FAILED", "TASK_STATE_CANCELED", "TASK_STATE_REJECTED"}
_PAUSED = {"TASK_STATE_INPUT_REQUIRED", "TASK_STATE_AUTH_REQUIRED"}
_UNFINISHED = "The agent's task has not ended: there is nothing to see"


def message(**more: Any) -> dict[str, Any]:
    """Parameters that send a greeting."""
    return {"message": {"messageId": str(uuid4()), "role": "ROLE_USER", "parts": [{"text": _GREETING}], **more}}


def _extensions(session: Session) -> list[tuple[bytes, bytes]]:
    """The extensions that the card requires: without them every message would be refused."""
    required = ",".join(_required_extensions(session))
    return [(b"A2A-Extensions", required.encode("utf-8", "replace"))] if required else []


def _required_extensions(session: Session) -> list[str]:
    capabilities = session.card.get("capabilities")
    declared = capabilities.get("extensions") if isinstance(capabilities, dict) else None
    found = [e for e in declared if isinstance(e, dict)] if isinstance(declared, list) else []
    return [str(e.get("uri", "")) for e in found if e.get("required") is True]


async def _send_message(session: Session, step: StepResult, params: dict[str, Any]) -> Answer:
    return await session.ask(step, "SendMessage", params, headers=_extensions(session))


async def _read(session: Session, step: StepResult, task: dict[str, Any], **params: Any) -> dict[str, Any] | None:
    """The task as the agent has it now; None when it was not answered, which the step then says."""
    session.caller.forget()
    answer = await session.ask(step, "GetTask", {"id": task["id"], **params})
    if session.locked_out(step, answer):
        return None
    if not answer.has_result or not isinstance(answer.result, dict):
        step.failed(answer.words if not answer.has_result else "The result is not an object", at=answer.root)
        return None
    session.seen["root"] = answer.root
    return answer.result


def _state(task: Any) -> str:
    status = task.get("status") if isinstance(task, dict) else None
    return str(status.get("state", "")) if isinstance(status, dict) else ""


def _plain(state: str) -> str:
    return state.removeprefix("TASK_STATE_").replace("_", " ").lower() or "missing"


# A message


@performs("messages/send")
async def _send(session: Session, step: StepResult) -> None:
    params = message()
    answer = await _send_message(session, step, params)
    if session.locked_out(step, answer):
        return
    if not answer.has_result:
        step.failed(answer.words, at=answer.root)
        return
    if check_shape(step, SendMessageResponse.DESCRIPTOR, answer.result, answer.root):
        session.seen["sent"], session.seen["sent_root"] = answer.exchange, answer.root
        task = answer.result.get("task")
        if task is not None:
            session.seen["task"] = task
        step.passed(f"A task in state {_plain(_state(task))}" if task is not None else "A message")


@performs("messages/context")
async def _context(session: Session, step: StepResult) -> None:
    step.exchange, task, root = session.seen["sent"], session.seen["task"], session.seen["sent_root"]
    if task.get("contextId"):
        step.passed("The task says which context it belongs to")
    elif any(entry.get("contextId") for entry in _history(task)):
        step.failed("The task's history has a context that the task does not name", at=f"{root}/task")
    else:
        step.silent("The agent makes no context")


def _history(task: dict[str, Any]) -> list[dict[str, Any]]:
    history = task.get("history")
    return [entry for entry in history if isinstance(entry, dict)] if isinstance(history, list) else []


@performs("messages/blocking")
async def _blocking(session: Session, step: StepResult) -> None:
    step.exchange, state = session.seen["sent"], _state(session.seen["task"])
    if state in _TERMINAL | _PAUSED:
        step.passed(f"Answered when the task was {_plain(state)}")
    else:
        step.failed(
            f"Answered with a task that is {_plain(state)}", at=f"{session.seen['sent_root']}/task/status/state"
        )


@performs("messages/non_blocking")
async def _non_blocking(session: Session, step: StepResult) -> None:
    answer = await _send_message(session, step, {**message(), "configuration": {"returnImmediately": True}})
    if session.locked_out(step, answer):
        return
    if not answer.has_result:
        step.failed(answer.words, at=answer.root)
    elif check_shape(step, SendMessageResponse.DESCRIPTOR, answer.result, answer.root):
        state = _state(answer.result.get("task"))
        if state in _TERMINAL:
            step.silent(f"The task was {_plain(state)} at once: whether the agent would have waited is not to be seen")
        else:
            step.passed(
                f"Answered at once, with a task that is {_plain(state)}" if state else "Answered with a message"
            )


@performs("messages/unique")
async def _unique(session: Session, step: StepResult) -> None:
    answer = await _send_message(session, step, message())
    task = answer.result.get("task") if isinstance(answer.result, dict) else None
    if session.locked_out(step, answer):
        return
    if not isinstance(task, dict):
        step.failed(answer.words if not answer.has_result else "No task this time", at=answer.root)
    elif task.get("id") == session.seen["task"]["id"]:
        step.failed("Two messages were answered with the same task", at=f"{answer.root}/task/id")
    else:
        step.passed("Each message has a task of its own")


@performs("messages/get")
async def _get(session: Session, step: StepResult) -> None:
    task = session.seen["task"]
    if (again := await _read(session, step, task)) is None:
        return
    if again.get("id") != task["id"]:
        step.failed("Another task was answered", at=f"{session.seen['root']}/id")
    elif check_shape(step, Task.DESCRIPTOR, again, session.seen["root"]):
        session.seen["task"] = again
        step.passed(f"Read back in state {_plain(_state(again))}")


@performs("messages/history")
async def _history_length(session: Session, step: StepResult) -> None:
    whole = await _read(session, step, session.seen["task"])
    if whole is None:
        return
    length = len(_history(whole))
    if not length:
        step.silent("The task has no history")
        return
    if (cut := await _read(session, step, session.seen["task"], historyLength=1)) is None:
        return
    if len(_history(cut)) > 1:
        step.failed(
            f"{len(_history(cut))} messages where at most 1 was asked for", at=f"{session.seen['root']}/history/1"
        )
    else:
        step.passed(f"At most 1 of {length} messages")
    none = await session.caller.ask("GetTask", {"id": session.seen["task"]["id"], "historyLength": 0})
    if isinstance(none.result, dict) and _history(none.result):
        session.run.notice(
            "history_zero", "A history of length 0 was asked for, and messages came: it is better left out"
        )


# What has to be refused


@performs("messages/unknown_task")
async def _unknown_task(session: Session, step: StepResult) -> None:
    await session.refused(
        step, "SendMessage", message(taskId=session.no_task), "TASK_NOT_FOUND", headers=_extensions(session)
    )


@performs("messages/no_parts")
async def _no_parts(session: Session, step: StepResult) -> None:
    await session.refused(step, "SendMessage", message(parts=[]), "INVALID_PARAMS", headers=_extensions(session))


@performs("messages/mismatch")
async def _mismatch(session: Session, step: StepResult) -> None:
    params = message(taskId=session.seen["task"]["id"], contextId=str(uuid4()))
    answer = await _send_message(session, step, params)
    if session.locked_out(step, answer):
        return
    # Which error is not said, only that there is one.
    if answer.has_result or answer.wrong:
        step.failed(f"{answer.words} for a context that is not the task's", at=answer.root)
    else:
        step.passed(answer.words)


async def _terminal(session: Session, step: StepResult, operation: str, params: dict[str, Any], error: str) -> None:
    if _state(session.seen["task"]) not in _TERMINAL:
        step.silent(_UNFINISHED)
        return
    await session.refused(step, operation, params, error, headers=_extensions(session))


@performs("messages/terminal_send")
async def _terminal_send(session: Session, step: StepResult) -> None:
    params = message(taskId=session.seen["task"]["id"])
    await _terminal(session, step, "SendMessage", params, "UNSUPPORTED_OPERATION")


@performs("messages/terminal_cancel")
async def _terminal_cancel(session: Session, step: StepResult) -> None:
    await _terminal(session, step, "CancelTask", {"id": session.seen["task"]["id"]}, "TASK_NOT_CANCELABLE")


@performs("messages/terminal_subscribe")
async def _terminal_subscribe(session: Session, step: StepResult) -> None:
    await _terminal(session, step, "SubscribeToTask", {"id": session.seen["task"]["id"]}, "UNSUPPORTED_OPERATION")


@performs("messages/content_type")
async def _content_type(session: Session, step: StepResult) -> None:
    part = {"text": _GREETING, "mediaType": "application/x-assay-unheard-of"}
    answer = await _send_message(session, step, message(parts=[part]))
    if answer.has_result:
        step.silent("The agent takes this content type: when it would refuse one is not to be seen")
        return
    if session.locked_out(step, answer):
        return
    problem, where = problem_with(answer, "CONTENT_TYPE_NOT_SUPPORTED")
    if problem:
        step.failed(problem, at=where)
    else:
        step.passed(answer.words)


@performs("messages/extension")
async def _extension(session: Session, step: StepResult) -> None:
    if not _required_extensions(session):
        step.not_applicable("The card requires no extension")
        return
    await session.refused(step, "SendMessage", message(), "EXTENSION_SUPPORT_REQUIRED")


@performs("messages/push_create")
async def _push_create(session: Session, step: StepResult) -> None:
    if session.declares("pushNotifications"):
        step.not_applicable("The card declares push notifications: the agent would be made to call an address")
        return
    params = {"taskId": session.no_task, "id": "assay-none", "url": "https://assay.invalid/push"}
    await session.refused(step, "CreateTaskPushNotificationConfig", params, "PUSH_NOTIFICATION_NOT_SUPPORTED")


# Streams


@performs("streaming/stream")
async def _stream(session: Session, step: StepResult) -> None:
    if not session.declares("streaming"):
        await session.refused(
            step, "SendStreamingMessage", message(), "UNSUPPORTED_OPERATION", headers=_extensions(session)
        )
        return
    answer = await session.ask(step, "SendStreamingMessage", message(), headers=_extensions(session))
    if session.locked_out(step, answer):
        return
    exchange = answer.exchange
    if exchange.media_type != "text/event-stream":
        failed = "a stream was declared, and the answer is " + (exchange.media_type or "nothing")
        step.failed(failed if exchange.fault is None else exchange.fault.message, at="/response/headers/content-type")
        return
    session.seen["events"], wrong = _events(bytes(exchange.body), session.caller.interface.binding)
    session.seen["stream"] = exchange
    if wrong:
        step.failed(wrong, at="/response/body")
    elif not session.seen["events"]:
        step.failed("A stream without an event", at="/response/body")
    else:
        step.passed(f"{len(session.seen['events'])} events")


def _events(raw: bytes, binding: str) -> tuple[list[Any], str]:
    """The payloads of an event stream, and what is wrong with the first that is none."""
    found: list[Any] = []
    for block in raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n\n"):
        lines = [line[5:].removeprefix(b" ") for line in block.split(b"\n") if line.startswith(b"data:")]
        if not lines:
            continue
        value, problem = parse(b"\n".join(lines))
        if problem:
            return found, f"Event {len(found) + 1} is {problem}"
        if binding == JSONRPC:
            if not isinstance(value, dict) or value.get("jsonrpc") != "2.0" or "result" not in value:
                return found, f"Event {len(found) + 1} is no JSON-RPC 2.0 result"
            value = value["result"]
        found.append(value)
    return found, ""


@performs("streaming/events")
async def _stream_shape(session: Session, step: StepResult) -> None:
    step.exchange = session.seen["stream"]
    for number, event in enumerate(session.seen["events"], 1):
        if (flaw := first_flaw(StreamResponse.DESCRIPTOR, event)) is not None:
            step.failed(f"Event {number}: {flaw}", at="/response/body")
            return
    step.passed("Every event is one of the four that there are")


@performs("streaming/pattern")
async def _stream_pattern(session: Session, step: StepResult) -> None:
    step.exchange = session.seen["stream"]
    events = [event if isinstance(event, dict) else {} for event in session.seen["events"]]
    if "message" in events[0]:
        if len(events) > 1:
            step.failed(f"{len(events) - 1} events after the message", at="/response/body")
        else:
            step.passed("One message")
        return
    if "task" not in events[0]:
        first = ", ".join(events[0]) or "something else"
        step.failed(f"It begins with {first} instead of a task or a message", at="/response/body")
        return
    task = events[0]["task"] if isinstance(events[0]["task"], dict) else {}
    for number, event in enumerate(events[1:], 2):
        update = event.get("statusUpdate") or event.get("artifactUpdate") or {}
        if "message" in event:
            step.failed(f"Event {number} is a message in the stream of a task", at="/response/body")
            return
        if isinstance(update, dict) and update and update.get("taskId") != task.get("id"):
            step.failed(f"Event {number} is of another task", at="/response/body")
            return
    step.passed(f"A task and {len(events) - 1} updates of it")


@performs("streaming/end")
async def _stream_end(session: Session, step: StepResult) -> None:
    exchange = step.exchange = session.seen["stream"]
    events = [event for event in session.seen["events"] if isinstance(event, dict)]
    states = [_state(event.get("task") or event.get("statusUpdate")) for event in events]
    ended = next((number for number, state in enumerate(states) if state in _TERMINAL), None)
    if exchange.fault is not None:
        if ended is None and "message" not in events[0]:
            step.silent(f"The task had not ended when the time for one step was over: {exchange.fault.message}")
        else:
            step.failed("The stream stays open after its end", at="/response/fault")
    elif "message" in events[0]:
        step.passed("Closed after the message")
    elif ended is None:
        last = next((state for state in reversed(states) if state), "")
        if last in _PAUSED:
            step.passed(f"Closed when the task was {_plain(last)}")
        else:
            step.failed(f"Closed although the task was {_plain(last)}", at="/response/body")
    elif any("statusUpdate" in event or "artifactUpdate" in event for event in events[ended + 1 :]):
        step.failed("Updates follow after the task has ended", at="/response/body")
    else:
        step.passed(f"Closed when the task was {_plain(states[ended])}")
