"""Checks that set the agent to work: messages, their tasks, and streams. Only where side effects are allowed."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from a2a.types.a2a_pb2 import SendMessageResponse, StreamResponse, Task

from compliance.engines.http.jsonrpc import parse
from compliance.engines.reports.builder import StepResult
from compliance.engines.suites.a2a.client import JSONRPC, Answer, problem_with
from compliance.engines.suites.a2a.session import Check, Group, Talk, check_shape, first_flaw

_GREETING = "Hello"
_TERMINAL = {"TASK_STATE_COMPLETED", "TASK_STATE_FAILED", "TASK_STATE_CANCELED", "TASK_STATE_REJECTED"}
_PAUSED = {"TASK_STATE_INPUT_REQUIRED", "TASK_STATE_AUTH_REQUIRED"}
_NO_TASK = "The agent answers with messages, not with tasks"
_UNFINISHED = "The agent's task has not ended: there is nothing to see"


def message(**more: Any) -> dict[str, Any]:
    """Parameters that send a greeting."""
    return {"message": {"messageId": str(uuid4()), "role": "ROLE_USER", "parts": [{"text": _GREETING}], **more}}


def _extensions(talk: Talk) -> list[tuple[bytes, bytes]]:
    """The extensions that the card requires: without them every message would be refused."""
    required = ",".join(_required_extensions(talk))
    return [(b"A2A-Extensions", required.encode("utf-8", "replace"))] if required else []


def _required_extensions(talk: Talk) -> list[str]:
    capabilities = talk.card.get("capabilities")
    declared = capabilities.get("extensions") if isinstance(capabilities, dict) else None
    found = [e for e in declared if isinstance(e, dict)] if isinstance(declared, list) else []
    return [str(e.get("uri", "")) for e in found if e.get("required") is True]


async def _send_message(talk: Talk, step: StepResult, params: dict[str, Any]) -> Answer:
    return await talk.ask(step, "SendMessage", params, headers=_extensions(talk))


async def _read(talk: Talk, step: StepResult, task: dict[str, Any], **params: Any) -> dict[str, Any] | None:
    """The task as the agent has it now; None when it was not answered, which the step then says."""
    talk.caller.forget()
    answer = await talk.ask(step, "GetTask", {"id": task["id"], **params})
    if not answer.has_result or not isinstance(answer.result, dict):
        step.failed(answer.words if not answer.has_result else "The result is not an object", at=answer.root)
        return None
    talk.seen["root"] = answer.root
    return answer.result


def _state(task: Any) -> str:
    status = task.get("status") if isinstance(task, dict) else None
    return str(status.get("state", "")) if isinstance(status, dict) else ""


def _plain(state: str) -> str:
    return state.removeprefix("TASK_STATE_").replace("_", " ").lower() or "missing"


# A message


async def _send(talk: Talk, step: StepResult) -> None:
    params = message()
    answer = await _send_message(talk, step, params)
    if talk.locked_out(step, answer):
        return
    if not answer.has_result:
        step.failed(answer.words, at=answer.root)
        return
    if check_shape(step, SendMessageResponse.DESCRIPTOR, answer.result, answer.root):
        talk.seen["sent"], talk.seen["sent_root"] = answer.exchange, answer.root
        task = answer.result.get("task")
        if task is not None:
            talk.seen["task"] = task
        step.passed(f"A task in state {_plain(_state(task))}" if task is not None else "A message")


async def _context(talk: Talk, step: StepResult) -> None:
    step.exchange, task, root = talk.seen["sent"], talk.seen["task"], talk.seen["sent_root"]
    if task.get("contextId"):
        step.passed("The task says which context it belongs to")
    elif any(entry.get("contextId") for entry in _history(task)):
        step.failed("The task's history has a context that the task does not name", at=f"{root}/task")
    else:
        step.silent("The agent makes no context")


def _history(task: dict[str, Any]) -> list[dict[str, Any]]:
    history = task.get("history")
    return [entry for entry in history if isinstance(entry, dict)] if isinstance(history, list) else []


async def _blocking(talk: Talk, step: StepResult) -> None:
    step.exchange, state = talk.seen["sent"], _state(talk.seen["task"])
    if state in _TERMINAL | _PAUSED:
        step.passed(f"Answered when the task was {_plain(state)}")
    else:
        step.failed(f"Answered with a task that is {_plain(state)}", at=f"{talk.seen['sent_root']}/task/status/state")


async def _non_blocking(talk: Talk, step: StepResult) -> None:
    answer = await _send_message(talk, step, {**message(), "configuration": {"returnImmediately": True}})
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


async def _unique(talk: Talk, step: StepResult) -> None:
    answer = await _send_message(talk, step, message())
    task = answer.result.get("task") if isinstance(answer.result, dict) else None
    if not isinstance(task, dict):
        step.failed(answer.words if not answer.has_result else "No task this time", at=answer.root)
    elif task.get("id") == talk.seen["task"]["id"]:
        step.failed("Two messages were answered with the same task", at=f"{answer.root}/task/id")
    else:
        step.passed("Each message has a task of its own")


async def _get(talk: Talk, step: StepResult) -> None:
    task = talk.seen["task"]
    if (again := await _read(talk, step, task)) is None:
        return
    if again.get("id") != task["id"]:
        step.failed("Another task was answered", at=f"{talk.seen['root']}/id")
    elif check_shape(step, Task.DESCRIPTOR, again, talk.seen["root"]):
        talk.seen["task"] = again
        step.passed(f"Read back in state {_plain(_state(again))}")


async def _history_length(talk: Talk, step: StepResult) -> None:
    whole = await _read(talk, step, talk.seen["task"])
    if whole is None:
        return
    length = len(_history(whole))
    if not length:
        step.silent("The task has no history")
        return
    if (cut := await _read(talk, step, talk.seen["task"], historyLength=1)) is None:
        return
    if len(_history(cut)) > 1:
        step.failed(f"{len(_history(cut))} messages where at most 1 was asked for", at=f"{talk.seen['root']}/history/1")
    else:
        step.passed(f"At most 1 of {length} messages")
    none = await talk.caller.ask("GetTask", {"id": talk.seen["task"]["id"], "historyLength": 0})
    if isinstance(none.result, dict) and _history(none.result):
        talk.run.notice("history_zero", "A history of length 0 was asked for, and messages came: it is better left out")


# What has to be refused


async def _unknown_task(talk: Talk, step: StepResult) -> None:
    await talk.refused(step, "SendMessage", message(taskId=talk.no_task), "TASK_NOT_FOUND", headers=_extensions(talk))


async def _no_parts(talk: Talk, step: StepResult) -> None:
    await talk.refused(step, "SendMessage", message(parts=[]), "INVALID_PARAMS", headers=_extensions(talk))


async def _mismatch(talk: Talk, step: StepResult) -> None:
    params = message(taskId=talk.seen["task"]["id"], contextId=str(uuid4()))
    answer = await _send_message(talk, step, params)
    # Which error is not said, only that there is one.
    if answer.has_result or answer.wrong:
        step.failed(f"{answer.words} for a context that is not the task's", at=answer.root)
    else:
        step.passed(answer.words)


async def _terminal(talk: Talk, step: StepResult, operation: str, params: dict[str, Any], error: str) -> None:
    if _state(talk.seen["task"]) not in _TERMINAL:
        step.silent(_UNFINISHED)
        return
    await talk.refused(step, operation, params, error, headers=_extensions(talk))


async def _terminal_send(talk: Talk, step: StepResult) -> None:
    params = message(taskId=talk.seen["task"]["id"])
    await _terminal(talk, step, "SendMessage", params, "UNSUPPORTED_OPERATION")


async def _terminal_cancel(talk: Talk, step: StepResult) -> None:
    await _terminal(talk, step, "CancelTask", {"id": talk.seen["task"]["id"]}, "TASK_NOT_CANCELABLE")


async def _terminal_subscribe(talk: Talk, step: StepResult) -> None:
    await _terminal(talk, step, "SubscribeToTask", {"id": talk.seen["task"]["id"]}, "UNSUPPORTED_OPERATION")


async def _content_type(talk: Talk, step: StepResult) -> None:
    part = {"text": _GREETING, "mediaType": "application/x-assay-unheard-of"}
    answer = await _send_message(talk, step, message(parts=[part]))
    if answer.has_result:
        step.silent("The agent takes this content type: when it would refuse one is not to be seen")
        return
    problem, where = problem_with(answer, "CONTENT_TYPE_NOT_SUPPORTED")
    if problem:
        step.failed(problem, at=where)
    else:
        step.passed(answer.words)


async def _extension(talk: Talk, step: StepResult) -> None:
    if not _required_extensions(talk):
        step.not_applicable("The card requires no extension")
        return
    await talk.refused(step, "SendMessage", message(), "EXTENSION_SUPPORT_REQUIRED")


async def _push_create(talk: Talk, step: StepResult) -> None:
    if talk.declares("pushNotifications"):
        step.not_applicable("The card declares push notifications: the agent would be made to call an address")
        return
    params = {"taskId": talk.no_task, "id": "assay-none", "url": "https://assay.invalid/push"}
    await talk.refused(step, "CreateTaskPushNotificationConfig", params, "PUSH_NOTIFICATION_NOT_SUPPORTED")


# Streams


async def _stream(talk: Talk, step: StepResult) -> None:
    if not talk.declares("streaming"):
        await talk.refused(step, "SendStreamingMessage", message(), "UNSUPPORTED_OPERATION", headers=_extensions(talk))
        return
    answer = await talk.ask(step, "SendStreamingMessage", message(), headers=_extensions(talk))
    if talk.locked_out(step, answer):
        return
    exchange = answer.exchange
    if exchange.media_type != "text/event-stream":
        failed = "a stream was declared, and the answer is " + (exchange.media_type or "nothing")
        step.failed(failed if exchange.fault is None else exchange.fault.message, at="/response/headers/content-type")
        return
    talk.seen["events"], wrong = _events(bytes(exchange.body), talk.caller.interface.binding)
    talk.seen["stream"] = exchange
    if wrong:
        step.failed(wrong, at="/response/body")
    elif not talk.seen["events"]:
        step.failed("A stream without an event", at="/response/body")
    else:
        step.passed(f"{len(talk.seen['events'])} events")


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


async def _stream_shape(talk: Talk, step: StepResult) -> None:
    step.exchange = talk.seen["stream"]
    for number, event in enumerate(talk.seen["events"], 1):
        if (flaw := first_flaw(StreamResponse.DESCRIPTOR, event)) is not None:
            step.failed(f"Event {number}: {flaw}", at="/response/body")
            return
    step.passed("Every event is one of the four that there are")


async def _stream_pattern(talk: Talk, step: StepResult) -> None:
    step.exchange = talk.seen["stream"]
    events = [event if isinstance(event, dict) else {} for event in talk.seen["events"]]
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


async def _stream_end(talk: Talk, step: StepResult) -> None:
    exchange = step.exchange = talk.seen["stream"]
    events = [event for event in talk.seen["events"] if isinstance(event, dict)]
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


NEEDS: dict[str, tuple[str, str]] = {
    # What an earlier check has to leave, by the key of the check, and what to say without it.
    **dict.fromkeys(
        ("context", "blocking", "unique", "get", "history", "mismatch", "terminal_send", "terminal_cancel",
         "terminal_subscribe"), ("task", _NO_TASK)),
    **dict.fromkeys(("events", "pattern", "end"), ("stream", "There is no stream to look at")),
}  # fmt: skip

_S = "311-send-message"
_T = "312-send-streaming-message"

GROUPS: tuple[Group, ...] = (
    Group("messages", "A message and its task", (
        Check("send", "A message is answered with a task or a message", "A complete task or message", "CORE-SEND-001",
              _S, _send, works=True),
        Check("blocking", "The answer waits for the task", "A task that has ended, or waits for somebody",
              "CORE-EXECUTION-MODE-001", "322-sendmessageconfiguration", _blocking, works=True),
        Check("non_blocking", "The answer does not wait when it is asked not to", "A task or a message, at once",
              "CORE-EXECUTION-MODE-002", "322-sendmessageconfiguration", _non_blocking, works=True),
        Check("context", "A context that the agent makes is told", "A contextId with the task", "CORE-MULTI-001a",
              "341-context-identifier-semantics", _context, works=True),
        Check("get", "The task can be read back", "The same task, as the specification describes one",
              "CORE-GET-001", "313-get-task", _get, works=True),
        Check("history", "No more history comes than is asked for", "At most as many messages", "CORE-HIST-002",
              "324-history-length-semantics", _history_length, works=True),
        Check("unique", "Each message has a task of its own", "Another identifier", "CORE-MULTI-003",
              "342-task-identifier-semantics", _unique, works=True),
        Check("unknown_task", "A message to an unknown task is refused", "TaskNotFoundError: -32001, or 404",
              "CORE-MULTI-004", "342-task-identifier-semantics", _unknown_task, works=True),
        Check("no_parts", "A message without content is refused", "Error -32602, or status 400", "CORE-ERR-002",
              "332-error-handling", _no_parts, works=True),
        Check("mismatch", "A context that is not the task's is refused", "An error", "CORE-MULTI-006",
              "343-multi-turn-conversation-patterns", _mismatch, works=True),
        Check("content_type", "Content of an unsupported type is refused",
              "ContentTypeNotSupportedError: -32005, or 400", "CORE-SEND-003", _S, _content_type, works=True),
        Check("extension", "A message without a required extension is refused",
              "ExtensionSupportRequiredError: -32008, or 400", "CORE-CAP-004", "334-capability-validation",
              _extension, works=True),
        Check("push_create", "Push notifications cannot be asked for when they are not declared",
              "PushNotificationNotSupportedError: -32003, or 400", "CORE-CAP-001", "334-capability-validation",
              _push_create, works=True),
        Check("terminal_send", "A task that has ended takes no message", "UnsupportedOperationError: -32004, or 400",
              "CORE-SEND-002", _S, _terminal_send, works=True),
        Check("terminal_cancel", "A task that has ended cannot be cancelled", "TaskNotCancelableError: -32002, or 400",
              "CORE-CANCEL-002", "315-cancel-task", _terminal_cancel, works=True),
        Check("terminal_subscribe", "A task that has ended cannot be subscribed to",
              "UnsupportedOperationError: -32004, or 400", "STREAM-SUB-003", "316-subscribe-to-task",
              _terminal_subscribe, works=True),
    )),
    Group("streaming", "A stream", (
        Check("stream", "A streamed message is answered with events, or refused when streaming is not declared",
              "An event stream; UnsupportedOperationError when streaming is not declared", "CORE-STREAM-001", _T,
              _stream, works=True),
        Check("events", "Every event is one of the protocol's", "A task, a message or an update, complete",
              "JSONRPC-SSE-001", "323-stream-response", _stream_shape, works=True),
        Check("pattern", "A stream is one message, or a task and its updates", "The task first, updates of it after",
              "CORE-STREAM-002", _T, _stream_pattern, works=True),
        Check("end", "A stream ends with its task", "Closed once the task has ended", "CORE-STREAM-003", _T,
              _stream_end, works=True),
    )),
)  # fmt: skip
