"""Checks of interfaces of version 0.3, which name their operations otherwise and have fewer."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

from compliance.engines.http.exchange import Exchange
from compliance.engines.http.jsonrpc import message_of, wrong_at
from compliance.engines.reports.builder import ReportBuilder
from compliance.engines.suites.a2a.client import HTTP_JSON, JSONRPC, Interface
from compliance.engines.suites.a2a.session import VERSION_0_3, check_error_code
from compliance.engines.suites.assertions import check_credential


def declared_interfaces(card: dict[str, Any]) -> list[Interface]:
    """The interfaces that a card of version 0.3 declares, the preferred one first."""
    version = str(card.get("protocolVersion") or "0.3.0")
    found = [Interface(0, str(card.get("url", "")), str(card.get("preferredTransport") or JSONRPC), version)]
    more = card.get("additionalInterfaces")
    for number, entry in enumerate(more if isinstance(more, list) else (), 1):
        if isinstance(entry, dict):
            found.append(Interface(number, str(entry.get("url", "")), str(entry.get("transport", "")), version))
    return found


async def is_open(run: ReportBuilder, interfaces: list[Interface]) -> bool:
    """Whether the agent answers on the first of these with what the run has to show; a failed step when it does not."""
    for interface in interfaces:
        if interface.binding == JSONRPC:
            sent = [(b"Content-Type", b"application/json"), (b"Accept", b"application/json, text/event-stream")]
            task = {"jsonrpc": "2.0", "id": "assay-1", "method": "tasks/get", "params": {"id": str(uuid4())}}
            exchange = await run.http.send("POST", interface.url, sent, json.dumps(task).encode())
        elif interface.binding == HTTP_JSON:
            url = f"{interface.url.rstrip('/')}/v1/tasks/{uuid4()}"
            exchange = await run.http.send("GET", url, [(b"Accept", b"application/json")])
        else:
            continue
        return exchange.status not in (401, 403) or check_credential(run, "security", exchange)
    return True


async def check_old(run: ReportBuilder, card: dict[str, Any], interfaces: list[Interface]) -> None:
    rpc = next((i for i in interfaces if i.binding == JSONRPC), None)
    http_json = next((i for i in interfaces if i.binding == HTTP_JSON), None)
    reason = "The card declares no such interface of version 0.3"
    for scenario, interface in zip(VERSION_0_3, (rpc, http_json), strict=True):
        if interface is None:
            for spec in scenario.steps:
                with run.step(scenario.key, spec.key) as step:
                    step.not_applicable(reason)
    if rpc is not None and run.wants("v03/jsonrpc"):
        await _jsonrpc(run, card, rpc)
    if http_json is not None and run.wants("v03/http_json"):
        with run.step("v03/http_json", "get_unknown") as step:
            url = f"{http_json.url.rstrip('/')}/v1/tasks/{uuid4()}"
            answer = await run.http.send("GET", url, [(b"Accept", b"application/json")])
            if answer.fault is not None:
                step.failed(answer.fault.message, at="/response/fault")
            elif answer.status != 404:
                step.failed(f"Status {answer.status}", at="/response/status")
            else:
                step.passed("Status 404")


async def _jsonrpc(run: ReportBuilder, card: dict[str, Any], interface: Interface) -> None:
    capabilities = card.get("capabilities")
    declared = capabilities if isinstance(capabilities, dict) else {}
    task = {"id": str(uuid4())}
    lost = -32001

    async def send(body: bytes) -> Exchange:
        headers = [(b"Content-Type", b"application/json"), (b"Accept", b"application/json, text/event-stream")]
        return await run.http.send("POST", interface.url, headers, body)

    def request(method: str, params: dict[str, Any]) -> bytes:
        return json.dumps({"jsonrpc": "2.0", "id": "assay-1", "method": method, "params": params}).encode()

    asked: dict[str, tuple[bytes, int]] = {
        "parse_error": (b'{"jsonrpc": "2.0", "id": 1, "method": ', -32700),
        "no_method": (b'{"jsonrpc": "2.0", "id": 1, "params": {}}', -32600),
        "unknown_method": (request("assay/noSuchMethod", {}), -32601),
        "get_unknown": (request("tasks/get", task), lost),
        "cancel_unknown": (request("tasks/cancel", task), lost),
        "resubscribe": (request("tasks/resubscribe", task), lost if declared.get("streaming") is True else -32004),
        "push": (
            request("tasks/pushNotificationConfig/get", {**task, "pushNotificationConfigId": "assay-none"}),
            lost if declared.get("pushNotifications") is True else -32003,
        ),
    }
    for key, (body, code) in asked.items():
        with run.step("v03/jsonrpc", key) as step:
            check_error_code(step, await send(body), code)
    with run.step("v03/jsonrpc", "identifier") as step:
        exchange = await send(request("tasks/get", task))
        message, wrong = message_of(exchange)
        if message is None:
            step.failed(f"Answered with {wrong}", at=wrong_at(exchange))
        elif message.get("id") != "assay-1":
            step.failed(f"It came back as {run.said(message.get('id'), 60)!r}", at="/response/body/id")
        else:
            step.passed("It came back")
