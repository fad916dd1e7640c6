"""Checks of the agent as a whole: its card, its security, and whether its interfaces agree."""

from __future__ import annotations

import base64
import ipaddress
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import httpx2
from a2a.types.a2a_pb2 import AgentCard

from compliance.engines.contract import Target
from compliance.engines.http.client import HttpClient
from compliance.engines.http.jsonrpc import parse
from compliance.engines.reports.builder import ReportBuilder, StepResult
from compliance.engines.suites.a2a.client import HTTP_JSON, JSONRPC, Interface
from compliance.engines.suites.a2a.message_schema import SERIALIZATION
from compliance.engines.suites.a2a.opening import Card, blame, check_found, check_required
from compliance.engines.suites.a2a.session import NAMES, Session, at, first_flaw

_FOUND = ("card", "available")  # the step whose evidence is the card
_ONE = "The card declares only one interface that is tested"
_WRONG_TOKEN = "assay-no-valid-token"  # noqa: S105 -- it opens nothing: that is what it is for


# The card


async def check_card(run: ReportBuilder, card: Card) -> bool:
    """Check the card. Whether it can be used."""
    with run.step("card", "available") as step:
        check_found(run, step, card)
    for header in ("Cache-Control", "ETag"):
        if not card.exchange.header(header):
            run.notice("card_caching", f"The agent card is sent without {header}")
    with run.step("card", "required") as step:
        read = await check_required(run, _FOUND, step, card)
    if read.card is None:
        return False
    with run.step("card", "serialized") as step:
        if card.is_old:
            step.not_applicable("The card is one of version 0.3")
        elif (flaw := first_flaw(AgentCard.DESCRIPTOR, card.document, SERIALIZATION)) is not None:
            blame(run, _FOUND, step, card, str(flaw), flaw.at)
        else:
            step.passed("As the specification writes it")
    with run.step("card", "interfaces") as step:
        _check_interfaces(run, step, card)
    with run.step("card", "signatures") as step:
        _check_signatures(run, step, card)
    return True


def _check_interfaces(run: ReportBuilder, step: StepResult, card: Card) -> None:
    if card.is_old:
        step.not_applicable("The card is one of version 0.3")
        return
    declared = card.document["supportedInterfaces"]
    for index, entry in enumerate(declared):
        if not isinstance(entry, dict):
            continue
        pointer = at("supportedInterfaces", index)
        version, binding = str(entry.get("protocolVersion", "")), entry.get("protocolBinding")
        url = _url(entry.get("url"))
        if binding in (JSONRPC, HTTP_JSON) and (url is None or url.scheme not in ("http", "https") or not url.host):
            blame(run, _FOUND, step, card, f"{pointer}/url is no absolute address", f"{pointer}/url")
            return
        if not re.fullmatch(r"\d+\.\d+(\.\d+)?", version):
            blame(run, _FOUND, step, card, f"{pointer}/protocolVersion is no version", f"{pointer}/protocolVersion")
            return
        if version.count(".") > 1:
            run.notice("patch_version", f"The card names version {version}: patch versions are better left out")
    step.passed(f"{len(declared)} interface{'s' if len(declared) != 1 else ''}")


def _url(text: Any) -> httpx2.URL | None:
    try:
        return httpx2.URL(text) if isinstance(text, str) else None
    except httpx2.InvalidURL:
        return None


def _check_signatures(run: ReportBuilder, step: StepResult, card: Card) -> None:
    signatures = card.document.get("signatures")
    if not isinstance(signatures, list) or not signatures:
        step.not_applicable("The card is not signed")
        return
    for index, signature in enumerate(signatures):
        pointer = at("signatures", index, "protected")
        protected = signature.get("protected") if isinstance(signature, dict) else None
        try:
            text = str(protected)
            header, _ = parse(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        except ValueError:
            header = None
        if not isinstance(header, dict):
            blame(run, _FOUND, step, card, f"{pointer} is no base64url-encoded JSON object", pointer)
            return
        missing = [name for name in ("alg", "kid") if not isinstance(header.get(name), str) or not header[name]]
        if missing:
            blame(run, _FOUND, step, card, f"{pointer} lacks {' and '.join(missing)}", pointer)
            return
    step.passed(f"{len(signatures)} signature{'s' if len(signatures) != 1 else ''}, each with algorithm and key")


# Security


def check_encryption(run: ReportBuilder, interfaces: Sequence[Interface]) -> None:
    with run.step("security", "encrypted") as step:
        plain = [i for i in interfaces if i.url.lower().startswith("http:")]
        public = [i for i in plain if not _is_private(i.url)]
        if public:
            step.failed(f"{public[0].url} is not encrypted")
        elif plain:
            step.not_applicable("The addresses are private ones: this is no production deployment")
        else:
            step.passed("Every interface is at an https address")


def _is_private(url: str) -> bool:
    parsed = _url(url)
    host = parsed.host if parsed is not None else ""
    try:
        return not ipaddress.ip_address(host.strip("[]")).is_global
    except ValueError:
        return host == "localhost" or host.endswith((".localhost", ".local", ".internal", ".test"))


def requires_credentials(card: dict[str, Any]) -> bool:
    """Whether the card lets nobody in without credentials: an empty requirement among others would."""
    for key in ("securityRequirements", "security"):
        listed = card.get(key)
        if isinstance(listed, list) and listed:
            return all(isinstance(item, dict) and bool(item.get("schemes", item)) for item in listed)
    return False


async def check_security(
    run: ReportBuilder, card: dict[str, Any], sessions: Sequence[Session], make_client: Callable[[Target], HttpClient]
) -> None:
    """Check what happens without a credential and with a wrong one; the right one was checked before."""
    reason = "" if requires_credentials(card) else "The card requires no credentials"
    reason = reason if sessions else "The card declares no interface of version 1 that is tested"
    with run.step("security", "enforced") as step:
        if reason:
            step.not_applicable(reason)
        else:
            for each in sessions:
                answer = await each.ask(step, "GetTask", {"id": each.no_task}, with_credential=False)
                if not answer.wants_credential:
                    binding = NAMES[each.caller.interface.binding]
                    step.failed(f"{binding} answers without credentials: {answer.words}", at="/response/status")
                    break
            else:
                step.passed("Every interface wants credentials")
    with run.step("security", "invalid") as step:
        if reason:
            step.not_applicable(reason)
            return
        session = sessions[0]
        wrong = replace(run.target, token=_WRONG_TOKEN, credential=None)
        async with make_client(wrong) as http:
            answer = await session.ask(step, "GetTask", {"id": session.no_task}, http=http)
        if answer.wants_credential:
            step.passed(f"Refused with status {answer.exchange.status}")
        else:
            step.failed(f"A token that was made up is accepted: {answer.words}", at="/response/status")


# Whether the interfaces agree


async def check_interop(run: ReportBuilder, sessions: Sequence[Session]) -> None:
    """Check that all interfaces answer alike. Most of the questions have been asked before."""

    async def errors(session: Session, step: StepResult) -> str:
        answers = [await session.ask(step, o, {"id": sessions[0].no_task}) for o in ("GetTask", "CancelTask")]
        return ", ".join(answer.outcome for answer in answers)

    async def capabilities(session: Session, step: StepResult) -> str:
        task = sessions[0].no_task
        asked: list[tuple[str, dict[str, Any]]] = [
            ("SubscribeToTask", {"id": task}),
            ("ListTaskPushNotificationConfigs", {"taskId": task}),
            ("GetExtendedAgentCard", {}),
        ]
        return ", ".join([(await session.ask(step, operation, params)).outcome for operation, params in asked])

    async def credentials(session: Session, step: StepResult) -> str:
        answer = await session.ask(step, "GetTask", {"id": sessions[0].no_task}, with_credential=False)
        return "credentials are asked for" if answer.wants_credential else "no credentials are asked for"

    questions: dict[str, Callable[[Session, StepResult], Awaitable[str]]] = {
        "errors": errors, "capabilities": capabilities, "credentials": credentials,
    }  # fmt: skip
    for key, check_limits in questions.items():
        with run.step("interop", key) as step:
            if len(sessions) < 2:
                step.not_applicable(_ONE)
                continue
            outcomes = {
                NAMES[session.caller.interface.binding]: await check_limits(session, step) for session in sessions
            }
            said = "; ".join(f"{name}: {outcome}" for name, outcome in outcomes.items())
            if len(set(outcomes.values())) > 1:
                step.failed(said)
            else:
                step.passed(said)
    with run.step("interop", "results") as step:
        if len(sessions) < 2:
            step.not_applicable(_ONE)
        else:
            await _check_results(sessions, step)


async def _check_results(sessions: Sequence[Session], step: StepResult) -> None:
    async def check_limits(session: Session) -> str:
        session.caller.forget()
        answer = await session.ask(step, "ListTasks", {"pageSize": 5, "historyLength": 0})
        if not isinstance(answer.result, dict):
            return answer.outcome
        listed = answer.result.get("tasks")
        tasks = listed if isinstance(listed, list) else []
        names = [str(task.get("id")) if isinstance(task, dict) else "?" for task in tasks]
        return f"{', '.join(names) or 'none'} of {answer.result.get('totalSize')} tasks"

    first, *others = [await check_limits(session) for session in sessions]
    if all(other == first for other in others):
        step.passed("The same tasks are listed")
    elif await check_limits(sessions[0]) != first:
        step.silent("The agent's tasks changed while they were listed: there is nothing to compare")
    else:
        step.failed(f"{first} on one interface, {others[0]} on another")
