"""Checks of the agent as a whole: its card, its security, and whether its interfaces agree."""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import httpx2
from a2a.types.a2a_pb2 import AgentCard

from compliance.engines.catalog import RuledStepSpec, ScenarioSpec
from compliance.engines.contract import Target
from compliance.engines.detection import OLD_CARD_PATH
from compliance.engines.http.client import HttpClient
from compliance.engines.http.exchange import Exchange
from compliance.engines.http.jsonrpc import parse
from compliance.engines.reports.builder import ReportBuilder, StepResult
from compliance.engines.suites.a2a.card import read_card
from compliance.engines.suites.a2a.client import HTTP_JSON, JSONRPC, Interface
from compliance.engines.suites.a2a.message_schema import Kind
from compliance.engines.suites.a2a.session import NAMES, SPEC, Talk, at, first_flaw

_BODY = "/response/body"
_SERIALIZATION = (Kind.NAME, Kind.ENUM, Kind.TIMESTAMP)
_ONE = "The card declares only one interface that is tested"
_WRONG_TOKEN = "assay-no-valid-token"  # noqa: S105 -- it opens nothing: that is what it is for


def _spec(key: str, title: str, expected: str, requirement: str, anchor: str) -> RuledStepSpec:
    return RuledStepSpec(key, title, expected, f"{SPEC}#{anchor}", requirement)


CARD = ScenarioSpec("card", "The agent card", (
    _spec("available", "The agent card is at its well-known address", "A JSON document at /.well-known/agent-card.json",
          "CARD-DISC-001", "81-purpose"),
    _spec("required", "The agent card has all required fields", "Every required field, of the right type",
          "CARD-STRUCT-001", "441-agentcard"),
    _spec("serialized", "The agent card is written as the specification writes it",
          "camelCase names, values by their names", "DM-SERIAL-001", "55-json-field-naming-convention"),
    _spec("interfaces", "Every interface says where it is and what it speaks",
          "An absolute address, a binding and a version such as 1.0", "CARD-PROTO-002",
          "831-supported-interfaces-declaration"),
    _spec("signatures", "Every signature names its algorithm and key", "A protected header with alg and kid",
          "CARD-SIGN-003", "842-signature-format"),
))  # fmt: skip
SECURITY = ScenarioSpec("security", "Security", (
    _spec("encrypted", "Interfaces are encrypted", "https, unless the address is a private one", "AUTH-TLS-001",
          "71-protocol-security"),
    _spec("unauthorized", "A request without credentials is answered with 401",
          "Status 401 and a WWW-Authenticate header that names a scheme", "A2A-1.0 §3.3.2", "332-error-handling"),
    _spec("accepted", "The stored credential is accepted", "An answer other than 401 or 403", "A2A-1.0 §7.3",
          "73-client-authentication-process"),
    _spec("enforced", "What the card asks for is asked of everybody",
          "No answer without credentials when the card requires some", "AUTH-SERVER-002",
          "74-server-authentication-responsibilities"),
    _spec("invalid", "A credential that is not valid is refused", "Status 401 or 403", "A2A-1.0 §3.3.2",
          "332-error-handling"),
))  # fmt: skip
INTEROP = ScenarioSpec("interop", "Interfaces agree", (
    _spec("errors", "The same question has the same error on every interface", "The same error", "BIND-EQUIV-003",
          "51-functional-equivalence-requirements"),
    _spec("capabilities", "The same operations are there on every interface", "The same outcome", "BIND-EQUIV-001",
          "51-functional-equivalence-requirements"),
    _spec("results", "The same question has the same result on every interface", "The same tasks", "BIND-EQUIV-002",
          "51-functional-equivalence-requirements"),
    _spec("credentials", "Every interface asks for the same credentials", "The same answer without any",
          "BIND-EQUIV-004", "51-functional-equivalence-requirements"),
))  # fmt: skip


# The card


async def check_card(run: ReportBuilder, document: dict[str, Any], exchange: Exchange, path: str) -> bool:
    """Judge the card. Whether it can be used."""
    read = await asyncio.to_thread(read_card, document, run.target.limits.card_nodes)
    with run.step("card", "available") as step:
        step.exchange = exchange
        if path.endswith(OLD_CARD_PATH) and "supportedInterfaces" in document:
            step.failed(f"Found only under the older name, {path}", at="/request/url")
        elif exchange.media_type not in ("application/json", "application/a2a+json"):
            kind = exchange.media_type or "missing"
            step.failed(f"Found at {path}, with the content type {kind}", at="/response/headers/content-type")
        else:
            step.passed(f"Found at {path}")
    for header in ("Cache-Control", "ETag"):
        if not exchange.header(header):
            run.notice("card_caching", f"The agent card is sent without {header}")
    with run.step("card", "required") as step:
        if read.problem:
            _blame(run, step, exchange, read.problem, read.at)
        else:
            step.passed("Complete")
    if read.card is None:
        run.stop_reason = "Left out: the agent card cannot be used"
        return False
    is_old = "supportedInterfaces" not in document
    with run.step("card", "serialized") as step:
        if is_old:
            step.not_applicable("The card is one of version 0.3")
        elif (flaw := first_flaw(AgentCard.DESCRIPTOR, document, _SERIALIZATION)) is not None:
            _blame(run, step, exchange, str(flaw), flaw.at)
        else:
            step.passed("As the specification writes it")
    with run.step("card", "interfaces") as step:
        _check_interfaces(run, step, document, exchange, is_old=is_old)
    with run.step("card", "signatures") as step:
        _check_signatures(run, step, document, exchange)
    return True


def _blame(run: ReportBuilder, step: StepResult, exchange: Exchange, problem: str, where: str) -> None:
    run.keep_evidence("card", "available", at=_BODY + where)
    step.found_in = exchange
    step.failed(problem, at=_BODY + where)


def _check_interfaces(
    run: ReportBuilder, step: StepResult, document: dict[str, Any], exchange: Exchange, *, is_old: bool
) -> None:
    if is_old:
        step.not_applicable("The card is one of version 0.3")
        return
    declared = document["supportedInterfaces"]
    for index, entry in enumerate(declared):
        if not isinstance(entry, dict):
            continue
        pointer = at("supportedInterfaces", index)
        version, binding = str(entry.get("protocolVersion", "")), entry.get("protocolBinding")
        url = _url(entry.get("url"))
        if binding in (JSONRPC, HTTP_JSON) and (url is None or url.scheme not in ("http", "https") or not url.host):
            _blame(run, step, exchange, f"{pointer}/url is no absolute address", f"{pointer}/url")
            return
        if not re.fullmatch(r"\d+\.\d+(\.\d+)?", version):
            _blame(run, step, exchange, f"{pointer}/protocolVersion is no version", f"{pointer}/protocolVersion")
            return
        if version.count(".") > 1:
            run.notice("patch_version", f"The card names version {version}: patch versions are better left out")
    step.passed(f"{len(declared)} interface{'s' if len(declared) != 1 else ''}")


def _url(text: Any) -> httpx2.URL | None:
    try:
        return httpx2.URL(text) if isinstance(text, str) else None
    except httpx2.InvalidURL:
        return None


def _check_signatures(run: ReportBuilder, step: StepResult, document: dict[str, Any], exchange: Exchange) -> None:
    signatures = document.get("signatures")
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
            _blame(run, step, exchange, f"{pointer} is no base64url-encoded JSON object", pointer)
            return
        missing = [name for name in ("alg", "kid") if not isinstance(header.get(name), str) or not header[name]]
        if missing:
            _blame(run, step, exchange, f"{pointer} lacks {' and '.join(missing)}", pointer)
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
    run: ReportBuilder, card: dict[str, Any], talks: Sequence[Talk], make_client: Callable[[Target], HttpClient]
) -> None:
    """Judge what happens without a credential and with a wrong one; the right one was judged before."""
    reason = "" if requires_credentials(card) else "The card requires no credentials"
    reason = reason if talks else "The card declares no interface of version 1 that is tested"
    with run.step("security", "enforced") as step:
        if reason:
            step.not_applicable(reason)
        else:
            for each in talks:
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
        talk = talks[0]
        wrong = replace(run.target, token=_WRONG_TOKEN, credential=None)
        async with make_client(wrong) as http:
            answer = await talk.ask(step, "GetTask", {"id": talk.no_task}, http=http)
        if answer.wants_credential:
            step.passed(f"Refused with status {answer.exchange.status}")
        else:
            step.failed(f"A token that was made up is accepted: {answer.words}", at="/response/status")


# Whether the interfaces agree


async def check_interop(run: ReportBuilder, talks: Sequence[Talk]) -> None:
    """Judge that all interfaces answer alike. Most of the questions have been asked before."""

    async def errors(talk: Talk, step: StepResult) -> str:
        answers = [await talk.ask(step, o, {"id": talks[0].no_task}) for o in ("GetTask", "CancelTask")]
        return ", ".join(answer.outcome for answer in answers)

    async def capabilities(talk: Talk, step: StepResult) -> str:
        task = talks[0].no_task
        asked: list[tuple[str, dict[str, Any]]] = [
            ("SubscribeToTask", {"id": task}),
            ("ListTaskPushNotificationConfigs", {"taskId": task}),
            ("GetExtendedAgentCard", {}),
        ]
        return ", ".join([(await talk.ask(step, operation, params)).outcome for operation, params in asked])

    async def credentials(talk: Talk, step: StepResult) -> str:
        answer = await talk.ask(step, "GetTask", {"id": talks[0].no_task}, with_credential=False)
        return "credentials are asked for" if answer.wants_credential else "no credentials are asked for"

    judged: dict[str, Callable[[Talk, StepResult], Awaitable[str]]] = {
        "errors": errors, "capabilities": capabilities, "credentials": credentials,
    }  # fmt: skip
    for key, check_limits in judged.items():
        with run.step("interop", key) as step:
            if len(talks) < 2:
                step.not_applicable(_ONE)
                continue
            outcomes = {NAMES[talk.caller.interface.binding]: await check_limits(talk, step) for talk in talks}
            said = "; ".join(f"{name}: {outcome}" for name, outcome in outcomes.items())
            if len(set(outcomes.values())) > 1:
                step.failed(said)
            else:
                step.passed(said)
    with run.step("interop", "results") as step:
        if len(talks) < 2:
            step.not_applicable(_ONE)
        else:
            await _check_results(talks, step)


async def _check_results(talks: Sequence[Talk], step: StepResult) -> None:
    async def check_limits(talk: Talk) -> str:
        talk.caller.forget()
        answer = await talk.ask(step, "ListTasks", {"pageSize": 5, "historyLength": 0})
        if not isinstance(answer.result, dict):
            return answer.outcome
        listed = answer.result.get("tasks")
        tasks = listed if isinstance(listed, list) else []
        names = [str(task.get("id")) if isinstance(task, dict) else "?" for task in tasks]
        return f"{', '.join(names) or 'none'} of {answer.result.get('totalSize')} tasks"

    first, *others = [await check_limits(talk) for talk in talks]
    if all(other == first for other in others):
        step.passed("The same tasks are listed")
    elif await check_limits(talks[0]) != first:
        step.silent("The agent's tasks changed while they were listed: there is nothing to compare")
    else:
        step.failed(f"{first} on one interface, {others[0]} on another")
