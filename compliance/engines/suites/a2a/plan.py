"""The order in which an A2A agent is asked: its card, its interfaces, and then the checks of each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

from compliance.engines.contract import Target
from compliance.engines.http.client import HttpClient
from compliance.engines.http.exchange import FaultKind
from compliance.engines.http.jsonrpc import parse
from compliance.engines.reports.builder import ReportBuilder
from compliance.engines.reports.digest import digest_of_card
from compliance.engines.suites.a2a import listing_checks, read_only_checks, task_checks  # noqa: F401 - their functions
from compliance.engines.suites.a2a import v03_checks as old
from compliance.engines.suites.a2a.agent_checks import check_card, check_encryption, check_interop, check_security
from compliance.engines.suites.a2a.catalog import ANSWERS
from compliance.engines.suites.a2a.client import Answer, Caller, Interface
from compliance.engines.suites.a2a.session import FUNCTIONS, GROUPS, NAMES, PREFIXES, Check, Session
from compliance.engines.suites.assertions import check_challenge, check_credential, reach_card

_WITHOUT = {
    "task": "The agent answers with messages, not with tasks",
    "stream": "There is no stream to look at",
}
_MOST = 20  # interfaces looked at; a card may declare thousands
MakeWire = Callable[[Target], HttpClient]


async def converse(run: ReportBuilder, make_client: MakeWire) -> None:
    """The whole conversation. What breaks in here is raised to the engine; an agent's faults are steps."""
    document = await _card(run)
    if document is None:
        return
    interfaces = _interfaces(document)
    run.protocol_version = interfaces[0].version if interfaces else ""
    check_encryption(run, interfaces)
    _grpc(run, document)
    sessions = await _open(run, document, [i for i in interfaces if not i.is_old])
    if run.locked or run.stop_reason:
        return
    for session in sessions:
        await _all(run, session)
    former = [i for i in interfaces if i.is_old]
    if not sessions and not await old.is_open(run, former):
        return
    await old.check_old(run, document, former)
    if run.wants("interop"):
        await check_interop(run, sessions)
    if run.wants("security"):
        await check_security(run, document, sessions, make_client)


async def _card(run: ReportBuilder) -> dict[str, Any] | None:
    card = await reach_card(run, "security")
    if card is None:
        return None
    document = card.document
    for key, name in (("name", "agent_name"), ("version", "agent_version")):
        run.observe(name, run.said(document.get(key, ""), 100))
    if digest := digest_of_card(document):
        run.observe("tools_digest", digest)
    return document if await check_card(run, document, card.exchange, card.path) else None


def _interfaces(document: dict[str, Any]) -> list[Interface]:
    """The interfaces that the card declares, in its order."""
    declared = document.get("supportedInterfaces")
    if not isinstance(declared, list):
        return old.declared_interfaces(document)[:_MOST]
    return [
        Interface(
            number,
            str(entry.get("url", "")),
            str(entry.get("protocolBinding", "")),
            str(entry.get("protocolVersion", "")),
            str(entry.get("tenant") or ""),
        )
        for number, entry in enumerate(declared[:_MOST])
        if isinstance(entry, dict)
    ]


def _grpc(run: ReportBuilder, document: dict[str, Any]) -> None:
    with run.step("grpc/interface", ANSWERS) as step:
        if any(interface.binding == "GRPC" for interface in _interfaces(document)):
            step.silent("gRPC is not spoken by this engine: its connections would not pass the guard of addresses")
        else:
            step.not_applicable("The card declares no gRPC interface")


async def _open(run: ReportBuilder, document: dict[str, Any], interfaces: list[Interface]) -> list[Session]:
    """A conversation with the first interface of each binding that answers."""
    sessions: list[Session] = []
    credential_refused = False
    for binding, prefix in PREFIXES.items():
        interface = next((i for i in interfaces if i.binding == binding), None)
        if interface is None:
            _leave_out(run, binding, f"The card declares no {NAMES[binding]} interface of version 1")
            continue
        session = Session(run, Caller(run.http, interface), document, sessions[0].no_task if sessions else str(uuid4()))
        with run.step(f"{prefix}/interface", ANSWERS) as step:
            answer = await session.ask(step, "GetTask", {"id": session.no_task})
            fault = answer.exchange.fault
            if fault is not None and fault.kind is FaultKind.REFUSED:
                step.failed(f"The card points to where a test may not go: {fault.message}", at="/request/url")
            elif answer.wants_credential and (credential_refused or not sessions or run.target.credential is None):
                # When another interface has taken the credential, it is this one that is at fault.
                another = "a" if run.target.credential is None else "another"
                step.passed(f"Answered with status {answer.exchange.status}: it wants {another} credential")
                credential_refused = True
            elif fault is not None or (answer.wrong and not _speaks(session, answer)):
                step.failed(answer.words, at=answer.root)
            else:
                step.passed(f"Answered after {answer.exchange.seconds * 1000:.0f} ms")
            works = step.verdict == "passed"
        if works:
            sessions.append(session)
    if not sessions:
        if any(not interface.is_old for interface in interfaces):
            run.stop_reason = "Left out: no interface of the card answers"
        else:
            _no_credentials(run, "The card declares no interface of version 1 that is tested")
        return sessions
    first = await sessions[0].caller.ask("GetTask", {"id": sessions[0].no_task})
    if not check_credential(run, "security", first.exchange):
        return []
    if run.target.credential is None:
        _no_credentials(run, "The agent answers without credentials")
    else:
        bare = await sessions[0].caller.ask("GetTask", {"id": sessions[0].no_task}, with_credential=False)
        check_challenge(run, "security", bare.exchange)
    return sessions


def _no_credentials(run: ReportBuilder, reason: str) -> None:
    for key in ("unauthorized", "accepted"):
        with run.step("security", key) as step:
            step.not_applicable(reason)


def _speaks(session: Session, answer: Answer) -> bool:
    """Whether an answer that is not right is one of the binding all the same: what is wrong, other checks say."""
    value, _ = parse(bytes(answer.exchange.body))
    return isinstance(value, dict) and (session.over_http or "jsonrpc" in value)


def _leave_out(run: ReportBuilder, binding: str, reason: str) -> None:
    prefix = PREFIXES[binding]
    with run.step(f"{prefix}/interface", ANSWERS) as step:
        step.not_applicable(reason)
    for group in GROUPS:
        for check in group.of(binding):
            with run.step(f"{prefix}/{group.key}", check.key) as step:
                step.not_applicable(reason)


async def _all(run: ReportBuilder, session: Session) -> None:
    binding = session.caller.interface.binding
    for group in GROUPS:
        scenario = f"{PREFIXES[binding]}/{group.key}"
        if not run.wants(scenario):
            continue
        for check in group.of(binding):
            with run.step(scenario, check.key) as step:
                if reason := _reason_to_skip(run, check):
                    step.skipped(reason)
                elif check.needs and check.needs not in session.seen:
                    step.not_applicable(_WITHOUT[check.needs])
                elif check.refuses:
                    await check.refuses.check(session, step)
                else:
                    await FUNCTIONS[f"{group.key}/{check.key}"](session, step)


def _reason_to_skip(run: ReportBuilder, check: Check) -> str:
    if check.works and not run.option("allow_side_effects"):
        return "Would set the agent to work, which this suite's options do not allow"
    return ""
