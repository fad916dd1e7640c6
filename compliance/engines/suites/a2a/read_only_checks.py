"""Checks that change nothing: the envelope, errors, versions, and capabilities that are not there."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

from a2a.types.a2a_pb2 import AgentCard

from compliance.engines.http.exchange import Exchange
from compliance.engines.http.jsonrpc import error_of, message_of, parse, wrong_at
from compliance.engines.reports.builder import StepResult
from compliance.engines.suites.a2a.client import ERROR_INFO, HTTP_JSON, JSONRPC, problem_with
from compliance.engines.suites.a2a.message_schema import Kind
from compliance.engines.suites.a2a.session import Check, Group, Talk, check_shape

_STRUCTURE = (Kind.TYPE, Kind.REQUIRED, Kind.ONE_OF)
_SERIALIZATION = (Kind.NAME, Kind.ENUM, Kind.TIMESTAMP)


# JSON-RPC's envelope


async def _send_raw(talk: Talk, step: StepResult, body: bytes) -> Exchange:
    headers = [(b"Content-Type", b"application/json"), (b"Accept", b"application/json"), (b"A2A-Version", b"1.0")]
    step.exchange = await talk.run.http.send("POST", talk.caller.interface.url, headers, body)
    return step.exchange


def _check_code(step: StepResult, exchange: Exchange, *codes: int) -> None:
    message, wrong = message_of(exchange)
    code, text = error_of(message)
    if wrong:
        step.failed(f"Answered with {wrong}", at=wrong_at(exchange))
    elif code is None:
        step.failed("A result, as if the request were valid", at="/response/body/result")
    elif code in codes:
        step.passed(f"Error {code}")
    else:
        step.failed(f"Error {code}: {text}", at="/response/body/error/code")


async def _parse_error(talk: Talk, step: StepResult) -> None:
    _check_code(step, await _send_raw(talk, step, b'{"jsonrpc": "2.0", "id": 1, "method": '), -32700)


async def _no_method(talk: Talk, step: StepResult) -> None:
    _check_code(step, await _send_raw(talk, step, b'{"jsonrpc": "2.0", "id": 1, "params": {}}'), -32600)


async def _wrong_jsonrpc(talk: Talk, step: StepResult) -> None:
    body = {"jsonrpc": "1.0", "id": 1, "method": "GetTask", "params": {"id": talk.no_task}}
    _check_code(step, await _send_raw(talk, step, json.dumps(body).encode()), -32600)


async def _unknown_method(talk: Talk, step: StepResult) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "method": "AssayNoSuchMethod", "params": {}}
    _check_code(step, await _send_raw(talk, step, json.dumps(body).encode()), -32601)


async def _identifiers(talk: Talk, step: StepResult) -> None:
    for sent in (f"assay-{uuid4()}", 4711):
        body = {"jsonrpc": "2.0", "id": sent, "method": "GetTask", "params": {"id": talk.no_task}}
        exchange = await _send_raw(talk, step, json.dumps(body).encode())
        message, wrong = message_of(exchange)
        if message is None:
            step.failed(f"Answered with {wrong}", at=wrong_at(exchange))
            return
        if message.get("id") != sent or isinstance(message.get("id"), bool):
            said = talk.run.said(message.get("id"), 60)
            step.failed(f"The request's {sent!r} came back as {said!r}", at="/response/body/id")
            return
    step.passed("A text and a number came back as they were sent")


async def _envelope(talk: Talk, step: StepResult) -> None:
    answer = await talk.ask(step, "GetTask", {"id": talk.no_task})
    value, _ = parse(bytes(answer.exchange.body))
    if answer.wrong:
        step.failed(answer.words, at=answer.root)
    elif isinstance(value, dict) and "result" in value and "error" in value:
        step.failed("A result and an error at once", at="/response/body/result")
    else:
        step.passed("One error in a JSON-RPC 2.0 response")


async def _media_type(talk: Talk, step: StepResult) -> None:
    answer = await talk.ask(step, "GetTask", {"id": talk.no_task})
    kind = answer.exchange.media_type
    if talk.over_http:
        if kind == "application/json":
            talk.run.notice("media_type", "HTTP+JSON is answered as application/json; application/a2a+json is better")
        allowed: tuple[str, ...] = ("application/a2a+json", "application/json")
    else:
        allowed = ("application/json",)
    if answer.exchange.fault is not None:
        step.failed(answer.words, at=answer.root)
    elif kind in allowed:
        step.passed(f"Answered as {kind}")
    else:
        step.failed(f"Answered as {kind or 'nothing'}", at="/response/headers/content-type")


# Errors


async def _get_unknown(talk: Talk, step: StepResult) -> None:
    await talk.refused(step, "GetTask", {"id": talk.no_task}, "TASK_NOT_FOUND")


async def _cancel_unknown(talk: Talk, step: StepResult) -> None:
    await talk.refused(step, "CancelTask", {"id": talk.no_task}, "TASK_NOT_FOUND")


async def _subscribe_unknown(talk: Talk, step: StepResult) -> None:
    expected = "TASK_NOT_FOUND" if talk.declares("streaming") else "UNSUPPORTED_OPERATION"
    await talk.refused(step, "SubscribeToTask", {"id": talk.no_task}, expected)


async def _bad_parameter(talk: Talk, step: StepResult) -> None:
    if talk.over_http:
        await talk.refused(step, "ListTasks", {"pageSize": "many"}, "INVALID_PARAMS")
    else:
        await talk.refused(step, "GetTask", {"id": {"not": "a string"}}, "INVALID_PARAMS")


async def _no_parameter(talk: Talk, step: StepResult) -> None:
    await talk.refused(step, "GetTask", {}, "INVALID_PARAMS")


async def _error_object(talk: Talk, step: StepResult) -> None:
    answer = await talk.ask(step, "GetTask", {"id": talk.no_task})
    if talk.locked_out(step, answer):
        return
    value, _ = parse(bytes(answer.exchange.body))
    error = value.get("error") if isinstance(value, dict) else None
    root = "/response/body/error"
    if not isinstance(error, dict):
        step.failed("There is no error object", at=root)
        return
    details = error.get("details" if talk.over_http else "data")
    if type(error.get("code")) is not int:
        step.failed("The error's code is not a whole number", at=f"{root}/code")
    elif talk.over_http and error["code"] != answer.exchange.status:
        step.failed(f"The error's code is {error['code']}, the status {answer.exchange.status}", at=f"{root}/code")
    elif not isinstance(error.get("message"), str) or not error["message"]:
        step.failed("The error has no message", at=f"{root}/message")
    else:
        step.passed(f"Code {error['code']} and a message" + (", with details" if details else ""))


async def _error_details(talk: Talk, step: StepResult) -> None:
    answer = await talk.ask(step, "GetTask", {"id": talk.no_task})
    if talk.locked_out(step, answer):
        return
    value, _ = parse(bytes(answer.exchange.body))
    error = value.get("error") if isinstance(value, dict) else None
    key = "details" if talk.over_http else "data"
    root = f"/response/body/error/{key}"
    details = error.get(key) if isinstance(error, dict) else None
    if details is None and not talk.over_http:
        talk.run.notice("error_info", "Errors over JSON-RPC have no data: an ErrorInfo in it would say more")
        step.not_applicable("The error has no details, which JSON-RPC does not ask for")
        return
    if not isinstance(details, list):
        step.failed("The error has no list of details", at=root)
        return
    for index, detail in enumerate(details):
        if not isinstance(detail, dict) or not isinstance(detail.get("@type"), str):
            step.failed("A detail does not say what it is in @type", at=f"{root}/{index}")
            return
    infos = [detail for detail in details if detail["@type"] == ERROR_INFO]
    if talk.over_http and not any(
        info.get("domain") == "a2a-protocol.org" and info.get("reason") == "TASK_NOT_FOUND" for info in infos
    ):
        step.failed("No ErrorInfo with the domain a2a-protocol.org and the reason TASK_NOT_FOUND", at=root)
        return
    step.passed(f"{len(details)} detail{'s' if len(details) != 1 else ''}, each with its type")


# Versions


async def _version_unknown(talk: Talk, step: StepResult) -> None:
    await talk.refused(step, "GetTask", {"id": talk.no_task}, "VERSION_NOT_SUPPORTED", version="99.0")


async def _version_patch(talk: Talk, step: StepResult) -> None:
    await talk.refused(step, "GetTask", {"id": talk.no_task}, "TASK_NOT_FOUND", version="1.0.7")


async def _version_header(talk: Talk, step: StepResult) -> None:
    headers = [(b"a2a-VERSION", b"99.0")]
    await talk.refused(step, "GetTask", {"id": talk.no_task}, "VERSION_NOT_SUPPORTED", version="", headers=headers)


async def _version_empty(talk: Talk, step: StepResult) -> None:
    answer = await talk.ask(step, "GetTask", {"id": talk.no_task}, version="")
    if talk.locked_out(step, answer):
        return
    if answer.error == "VERSION_NOT_SUPPORTED":
        problem, where = problem_with(answer, "VERSION_NOT_SUPPORTED")
        if problem:
            step.failed(problem, at=where)
        else:
            step.passed("Refused: without the header the version would be 0.3, which is not offered here")
    elif answer.error == "TASK_NOT_FOUND" or answer.has_result:
        step.failed(f"{answer.words}, as if version 1.0 had been asked for", at=answer.root)
    elif answer.code in (-32601, 404):
        step.passed("Version 0.3 has no such operation under this name")
    else:
        step.failed(answer.words, at=answer.root)


# Capabilities


def _push(operation: str, **params: Any) -> Any:
    async def perform(talk: Talk, step: StepResult) -> None:
        expected = "TASK_NOT_FOUND" if talk.declares("pushNotifications") else "PUSH_NOTIFICATION_NOT_SUPPORTED"
        await talk.refused(step, operation, {"taskId": talk.no_task, **params}, expected)

    return perform


async def _push_delete(talk: Talk, step: StepResult) -> None:
    params = {"taskId": talk.no_task, "id": "assay-none"}
    if not talk.declares("pushNotifications"):
        await talk.refused(step, "DeleteTaskPushNotificationConfig", params, "PUSH_NOTIFICATION_NOT_SUPPORTED")
        return
    answer = await talk.ask(step, "DeleteTaskPushNotificationConfig", params)
    if talk.locked_out(step, answer):
        return
    # Deleting what is not there has the same effect as deleting it twice: both answers are allowed.
    problem, where = ("", "") if answer.has_result else problem_with(answer, "TASK_NOT_FOUND")
    if problem:
        step.failed(problem, at=where)
    else:
        step.passed(answer.words)


async def _extended_card(talk: Talk, step: StepResult) -> None:
    if not talk.declares("extendedAgentCard"):
        await talk.refused(step, "GetExtendedAgentCard", {}, "UNSUPPORTED_OPERATION")
        return
    answer = await talk.ask(step, "GetExtendedAgentCard", {})
    if talk.run.target.credential is None:
        step.not_applicable("The card declares one, and this run has no credential to ask for it with")
    elif talk.locked_out(step, answer):
        return
    elif answer.has_result:
        check_shape(step, AgentCard.DESCRIPTOR, answer.result, answer.root, (Kind.TYPE, Kind.REQUIRED))
    else:
        problem, where = problem_with(answer, "EXTENDED_AGENT_CARD_NOT_CONFIGURED")
        if problem:
            step.failed(problem, at=where)
        else:
            step.passed(answer.words)


async def _extended_card_closed(talk: Talk, step: StepResult) -> None:
    if not talk.declares("extendedAgentCard"):
        step.not_applicable("The card declares no extended card")
        return
    answer = await talk.ask(step, "GetExtendedAgentCard", {}, with_credential=False)
    if answer.has_result:
        step.failed("The extended card is shown to anybody", at=answer.root)
    else:
        step.passed(answer.words)


_E = "332-error-handling"
_C = "334-capability-validation"
_L = "314-list-tasks"
_INVALID = "Error -32602, or status 400"

GROUPS: tuple[Group, ...] = (
    Group("envelope", "The envelope of requests and answers", (
        Check("parse_error", "JSON that is broken is answered with a parse error", "Error -32700",
              "JSONRPC-ERR-001", "95-error-handling", _parse_error, only=JSONRPC),
        Check("no_method", "A request without a method is invalid", "Error -32600",
              "JSONRPC-ERR-001", "95-error-handling", _no_method, only=JSONRPC),
        Check("wrong_jsonrpc", "A request of another JSON-RPC version is invalid", "Error -32600",
              "JSONRPC-FMT-001", "91-protocol-requirements", _wrong_jsonrpc, only=JSONRPC),
        Check("unknown_method", "An unknown method is answered with method not found", "Error -32601",
              "JSONRPC-SVC-001", "95-error-handling", _unknown_method, only=JSONRPC),
        Check("identifiers", "The request's identifier comes back", "The same identifier, of the same type",
              "JSONRPC-FMT-001", "91-protocol-requirements", _identifiers, only=JSONRPC),
        Check("response", "An answer is a JSON-RPC 2.0 response", "Either a result or an error, in version 2.0",
              "JSONRPC-FMT-001", "91-protocol-requirements", _envelope, only=JSONRPC),
        Check("media_type", "Answers are sent as JSON", "The content type of the binding",
              "JSONRPC-FMT-002", "91-protocol-requirements", _media_type, only=JSONRPC),
        Check("media_type", "Answers are sent as JSON", "The content type of the binding",
              "HTTP_JSON-SVC-001", "111-protocol-requirements", _media_type, only=HTTP_JSON),
    )),
    Group("errors", "Errors", (
        Check("get_unknown", "Reading an unknown task is answered with TaskNotFoundError",
              "TaskNotFoundError: -32001, or 404", "CORE-GET-002", "313-get-task", _get_unknown),
        Check("cancel_unknown", "Cancelling an unknown task is answered with TaskNotFoundError",
              "TaskNotFoundError: -32001, or 404", "CORE-CANCEL-003", "315-cancel-task", _cancel_unknown),
        Check("bad_parameter", "A parameter of a wrong type is refused", _INVALID,
              "CORE-ERR-002", _E, _bad_parameter),
        Check("no_parameter", "A missing parameter is refused", _INVALID, "CORE-ERR-002", _E, _no_parameter,
              only=JSONRPC),
        Check("error_object", "An error says its code and a message", "A code and a message that is not empty",
              "JSONRPC-ERR-001", "95-error-handling", _error_object, only=JSONRPC),
        Check("error_object", "An error says its code and a message", "The status as its code, and a message",
              "HTTP_JSON-ERR-001", "116-error-handling", _error_object, only=HTTP_JSON),
        Check("error_details", "The details of an error say what they are", "A list of objects, each with @type",
              "JSONRPC-ERR-003", "95-error-handling", _error_details, only=JSONRPC),
        Check("error_details", "The details of an error name it", "An ErrorInfo with A2A's domain and the reason",
              "HTTP_JSON-ERR-002", "116-error-handling", _error_details, only=HTTP_JSON),
    )),
    Group("versions", "Versions of the protocol", (
        Check("unknown", "A version that is not offered is refused", "VersionNotSupportedError: -32009, or 400",
              "VER-SERVER-002", "362-server-responsibilities", _version_unknown),
        Check("header", "The version's header is known in any spelling", "VersionNotSupportedError: -32009, or 400",
              "JSONRPC-SVC-002", "92-service-parameter-transmission", _version_header, only=JSONRPC),
        Check("header", "The version's header is known in any spelling", "VersionNotSupportedError: -32009, or 400",
              "HTTP_JSON-SVC-002", "112-service-parameter-transmission", _version_header, only=HTTP_JSON),
        Check("empty", "A request without a version is one of version 0.3",
              "VersionNotSupportedError, or what version 0.3 answers", "VER-SERVER-003",
              "362-server-responsibilities", _version_empty),
        Check("patch", "Patch versions make no difference", "The same answer as to version 1.0", "VER-CLIENT-002",
              "36-versioning", _version_patch),
    )),
    Group("capabilities", "What is not declared is refused", (
        Check("subscribe", "Subscribing to an unknown task is refused",
              "TaskNotFoundError with streaming declared, UnsupportedOperationError without", "STREAM-SUB-004",
              "316-subscribe-to-task", _subscribe_unknown),
        Check("push_get", "Reading a push configuration that is not there is refused",
              "TaskNotFoundError with push notifications declared, PushNotificationNotSupportedError without",
              "CORE-CAP-001", _C, _push("GetTaskPushNotificationConfig", id="assay-none")),
        Check("push_list", "Listing push configurations of no task is refused",
              "TaskNotFoundError with push notifications declared, PushNotificationNotSupportedError without",
              "CORE-CAP-001", _C, _push("ListTaskPushNotificationConfigs")),
        Check("push_delete", "Deleting a push configuration needs push notifications",
              "PushNotificationNotSupportedError when they are not declared", "CORE-CAP-001", _C, _push_delete),
        Check("extended_card", "The extended card is there when it is declared",
              "UnsupportedOperationError when it is not declared; else a card, or that none is configured",
              "CORE-CAP-003", _C, _extended_card),
        Check("extended_card_closed", "The extended card is not shown without credentials", "A refusal",
              "CARD-EXT-001", "133-extended-agent-card-access-control", _extended_card_closed),
    )),
)  # fmt: skip
