"""Checks of interfaces of version 0.3, which name their operations otherwise and have fewer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from compliance.engines.http.exchange import Exchange
from compliance.engines.http.jsonrpc import message_of, wrong_at
from compliance.engines.reports.builder import ReportBuilder
from compliance.engines.suites.a2a.client import HTTP_JSON, JSONRPC, Caller, Interface
from compliance.engines.suites.a2a.opening import problem_of
from compliance.engines.suites.a2a.session import VERSION_0_3, check_error_code
from compliance.engines.suites.assertions import locked_out


async def check_old(run: ReportBuilder, card: dict[str, Any], callers: Sequence[Caller]) -> None:
    rpc = next((c for c in callers if c.interface.binding == JSONRPC), None)
    http_json = next((c for c in callers if c.interface.binding == HTTP_JSON), None)
    reason = "The card declares no such interface of version 0.3"
    for scenario, caller in zip(VERSION_0_3, (rpc, http_json), strict=True):
        if caller is None:
            for spec in scenario.steps:
                with run.step(scenario.key, spec.key) as step:
                    step.not_applicable(reason)
    if rpc is not None and run.wants("v03/jsonrpc"):
        await _jsonrpc(run, card, rpc.interface)
    if http_json is not None and run.wants("v03/http_json"):
        with run.step("v03/http_json", "get_unknown") as step:
            answer = await http_json.ask("GetTask", {"id": str(uuid4())})
            step.exchange = answer.exchange
            if locked_out(run, step, answer.exchange):
                return
            problem, at = await problem_of(step, http_json, answer)
            if problem or answer.exchange.status != 404:
                step.failed(problem or f"Status {answer.exchange.status}", at=at or "/response/status")
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
            check_error_code(run, step, await send(body), code)
    with run.step("v03/jsonrpc", "identifier") as step:
        exchange = await send(request("tasks/get", task))
        message, wrong = message_of(exchange)
        if locked_out(run, step, exchange):
            pass
        elif message is None:
            step.failed(f"Answered with {wrong}", at=wrong_at(exchange))
        elif message.get("id") != "assay-1":
            step.failed(f"It came back as {run.said(message.get('id'), 60)!r}", at="/response/body/id")
        else:
            step.passed("It came back")
