"""Checks that change nothing: the envelope, errors, versions, and capabilities that are not there."""

from __future__ import annotations

import json
from uuid import uuid4

from a2a.types.a2a_pb2 import AgentCard

from compliance.engines.http.exchange import Exchange
from compliance.engines.http.jsonrpc import message_of, parse, wrong_at
from compliance.engines.reports.builder import StepResult
from compliance.engines.suites.a2a.client import ERROR_INFO, problem_with
from compliance.engines.suites.a2a.message_schema import Kind
from compliance.engines.suites.a2a.session import Session, check_error_code, check_shape, performs
from compliance.engines.suites.assertions import locked_out

# JSON-RPC's envelope


async def _send_raw(session: Session, step: StepResult, body: bytes) -> Exchange:
    headers = [(b"Content-Type", b"application/json"), (b"Accept", b"application/json"), (b"A2A-Version", b"1.0")]
    step.exchange = await session.run.http.send("POST", session.caller.interface.url, headers, body)
    return step.exchange


@performs("envelope/parse_error")
async def _parse_error(session: Session, step: StepResult) -> None:
    check_error_code(
        session.run, step, await _send_raw(session, step, b'{"jsonrpc": "2.0", "id": 1, "method": '), -32700
    )


@performs("envelope/no_method")
async def _no_method(session: Session, step: StepResult) -> None:
    check_error_code(
        session.run, step, await _send_raw(session, step, b'{"jsonrpc": "2.0", "id": 1, "params": {}}'), -32600
    )


@performs("envelope/wrong_jsonrpc")
async def _wrong_jsonrpc(session: Session, step: StepResult) -> None:
    body = {"jsonrpc": "1.0", "id": 1, "method": "GetTask", "params": {"id": session.no_task}}
    check_error_code(session.run, step, await _send_raw(session, step, json.dumps(body).encode()), -32600)


@performs("envelope/unknown_method")
async def _unknown_method(session: Session, step: StepResult) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "method": "AssayNoSuchMethod", "params": {}}
    check_error_code(session.run, step, await _send_raw(session, step, json.dumps(body).encode()), -32601)


@performs("envelope/identifiers")
async def _identifiers(session: Session, step: StepResult) -> None:
    for sent in (f"assay-{uuid4()}", 4711):
        body = {"jsonrpc": "2.0", "id": sent, "method": "GetTask", "params": {"id": session.no_task}}
        exchange = await _send_raw(session, step, json.dumps(body).encode())
        if locked_out(session.run, step, exchange):
            return
        message, wrong = message_of(exchange)
        if message is None:
            step.failed(f"Answered with {wrong}", at=wrong_at(exchange))
            return
        if message.get("id") != sent or isinstance(message.get("id"), bool):
            said = session.run.said(message.get("id"), 60)
            step.failed(f"The request's {sent!r} came back as {said!r}", at="/response/body/id")
            return
    step.passed("A text and a number came back as they were sent")


@performs("envelope/response")
async def _envelope(session: Session, step: StepResult) -> None:
    answer = await session.ask(step, "GetTask", {"id": session.no_task})
    value, _ = parse(bytes(answer.exchange.body))
    if answer.wrong:
        step.failed(answer.words, at=answer.root)
    elif isinstance(value, dict) and "result" in value and "error" in value:
        step.failed("A result and an error at once", at="/response/body/result")
    else:
        step.passed("One error in a JSON-RPC 2.0 response")


@performs("envelope/media_type")
async def _media_type(session: Session, step: StepResult) -> None:
    answer = await session.ask(step, "GetTask", {"id": session.no_task})
    kind = answer.exchange.media_type
    if session.over_http:
        if kind == "application/json":
            session.run.notice(
                "media_type", "HTTP+JSON is answered as application/json; application/a2a+json is better"
            )
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


@performs("errors/bad_parameter")
async def _bad_parameter(session: Session, step: StepResult) -> None:
    if session.over_http:
        await session.refused(step, "ListTasks", {"pageSize": "many"}, "INVALID_PARAMS")
    else:
        await session.refused(step, "GetTask", {"id": {"not": "a string"}}, "INVALID_PARAMS")


@performs("errors/error_object")
async def _error_object(session: Session, step: StepResult) -> None:
    answer = await session.ask(step, "GetTask", {"id": session.no_task})
    if session.locked_out(step, answer):
        return
    value, _ = parse(bytes(answer.exchange.body))
    error = value.get("error") if isinstance(value, dict) else None
    root = "/response/body/error"
    if not isinstance(error, dict):
        step.failed("There is no error object", at=root)
        return
    details = error.get("details" if session.over_http else "data")
    if type(error.get("code")) is not int:
        step.failed("The error's code is not a whole number", at=f"{root}/code")
    elif session.over_http and error["code"] != answer.exchange.status:
        step.failed(f"The error's code is {error['code']}, the status {answer.exchange.status}", at=f"{root}/code")
    elif not isinstance(error.get("message"), str) or not error["message"]:
        step.failed("The error has no message", at=f"{root}/message")
    else:
        step.passed(f"Code {error['code']} and a message" + (", with details" if details else ""))


@performs("errors/error_details")
async def _error_details(session: Session, step: StepResult) -> None:
    answer = await session.ask(step, "GetTask", {"id": session.no_task})
    if session.locked_out(step, answer):
        return
    value, _ = parse(bytes(answer.exchange.body))
    error = value.get("error") if isinstance(value, dict) else None
    key = "details" if session.over_http else "data"
    root = f"/response/body/error/{key}"
    details = error.get(key) if isinstance(error, dict) else None
    if details is None and not session.over_http:
        session.run.notice("error_info", "Errors over JSON-RPC have no data: an ErrorInfo in it would say more")
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
    if session.over_http and not any(
        info.get("domain") == "a2a-protocol.org" and info.get("reason") == "TASK_NOT_FOUND" for info in infos
    ):
        step.failed("No ErrorInfo with the domain a2a-protocol.org and the reason TASK_NOT_FOUND", at=root)
        return
    step.passed(f"{len(details)} detail{'s' if len(details) != 1 else ''}, each with its type")


# Versions


@performs("versions/header")
async def _version_header(session: Session, step: StepResult) -> None:
    headers = [(b"a2a-VERSION", b"99.0")]
    await session.refused(
        step, "GetTask", {"id": session.no_task}, "VERSION_NOT_SUPPORTED", version="", headers=headers
    )


@performs("versions/empty")
async def _version_empty(session: Session, step: StepResult) -> None:
    answer = await session.ask(step, "GetTask", {"id": session.no_task}, version="")
    if session.locked_out(step, answer):
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


@performs("capabilities/push_delete")
async def _push_delete(session: Session, step: StepResult) -> None:
    params = {"taskId": session.no_task, "id": "assay-none"}
    if not session.declares("pushNotifications"):
        await session.refused(step, "DeleteTaskPushNotificationConfig", params, "PUSH_NOTIFICATION_NOT_SUPPORTED")
        return
    answer = await session.ask(step, "DeleteTaskPushNotificationConfig", params)
    if session.locked_out(step, answer):
        return
    # Deleting what is not there has the same effect as deleting it twice: both answers are allowed.
    problem, where = ("", "") if answer.has_result else problem_with(answer, "TASK_NOT_FOUND")
    if problem:
        step.failed(problem, at=where)
    else:
        step.passed(answer.words)


@performs("capabilities/extended_card")
async def _extended_card(session: Session, step: StepResult) -> None:
    if not session.declares("extendedAgentCard"):
        await session.refused(step, "GetExtendedAgentCard", {}, "UNSUPPORTED_OPERATION")
        return
    answer = await session.ask(step, "GetExtendedAgentCard", {})
    if session.run.target.credential is None:
        step.not_applicable("The card declares one, and this run has no credential to ask for it with")
    elif session.locked_out(step, answer):
        return
    elif answer.has_result:
        check_shape(step, AgentCard.DESCRIPTOR, answer.result, answer.root, (Kind.TYPE, Kind.REQUIRED))
    else:
        problem, where = problem_with(answer, "EXTENDED_AGENT_CARD_NOT_CONFIGURED")
        if problem:
            step.failed(problem, at=where)
        else:
            step.passed(answer.words)


@performs("capabilities/extended_card_closed")
async def _extended_card_closed(session: Session, step: StepResult) -> None:
    if not session.declares("extendedAgentCard"):
        step.not_applicable("The card declares no extended card")
        return
    answer = await session.ask(step, "GetExtendedAgentCard", {}, with_credential=False)
    if answer.has_result:
        step.failed("The extended card is shown to anybody", at=answer.root)
    else:
        step.passed(answer.words)
