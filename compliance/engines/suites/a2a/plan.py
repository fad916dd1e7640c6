"""The order in which an A2A agent is asked: its card, its interfaces, and then the checks of each."""

from __future__ import annotations

from collections.abc import Callable
from uuid import uuid4

from compliance.engines.contract import Target
from compliance.engines.http.client import HttpClient
from compliance.engines.http.exchange import FaultKind
from compliance.engines.reports.builder import ReportBuilder
from compliance.engines.suites.a2a import listing_checks, read_only_checks, task_checks  # noqa: F401 - their functions
from compliance.engines.suites.a2a.agent_checks import check_card, check_encryption, check_interop, check_security
from compliance.engines.suites.a2a.catalog import ANSWERS
from compliance.engines.suites.a2a.client import Answer, Caller, Interface
from compliance.engines.suites.a2a.opening import (
    SPOKEN,
    ask_all,
    check_answers,
    check_door,
    check_reached,
    is_taken,
    reach_card,
)
from compliance.engines.suites.a2a.session import FUNCTIONS, GROUPS, NAMES, PREFIXES, Check, Session
from compliance.engines.suites.a2a.v03_checks import check_old

_WITHOUT = {
    "task": "The agent answers with messages, not with tasks",
    "stream": "There is no stream to look at",
}
_MOST = 20  # interfaces looked at; a card may declare thousands
MakeWire = Callable[[Target], HttpClient]


async def converse(run: ReportBuilder, make_client: MakeWire) -> None:
    """The whole conversation. What breaks in here is raised to the engine; an agent's faults are steps."""
    card = await reach_card(run, "security")
    if card is None or not await check_card(run, card):
        return
    interfaces = card.interfaces()[:_MOST]
    check_encryption(run, interfaces)
    opened = await _open(run, interfaces)
    spoken = (caller for caller, answer in opened if answer.wants_credential or answer.speaks)
    run.protocol_version = next((caller.interface.version for caller in spoken), "")
    if not opened or not await check_door(run, "security", *min(opened, key=lambda o: o[1].wants_credential)):
        return
    no_task = str(uuid4())
    sessions = [Session(run, caller, card.document, no_task) for caller, _ in opened if not caller.interface.is_old]
    for session in sessions:
        await _all(run, session)
    await check_old(run, card.document, [caller for caller, _ in opened if caller.interface.is_old])
    if run.wants("interop"):
        await check_interop(run, sessions)
    if run.wants("security"):
        await check_security(run, card.document, sessions, make_client)


async def _open(run: ReportBuilder, interfaces: list[Interface]) -> list[tuple[Caller, Answer]]:
    """The first interface of each binding and version that answers, and its answer; those of version 1 first."""
    with run.step("grpc/interface", ANSWERS) as step:
        if any(interface.binding == "GRPC" for interface in interfaces):
            step.silent("gRPC is not spoken by this engine: its connections would not pass the guard of addresses")
        else:
            step.not_applicable("The card declares no gRPC interface")
    first = {(i.is_old, i.binding): i for i in reversed(interfaces) if i.binding in SPOKEN}
    asked = {(c.interface.is_old, c.interface.binding): (c, answer) for c, answer in await ask_all(run, first.values())}
    taken = is_taken(run, (answer for _, answer in asked.values()))
    opened = []
    for binding, prefix in PREFIXES.items():
        if (False, binding) not in asked:
            _leave_out(run, binding, f"The card declares no {NAMES[binding]} interface of version 1")
            continue
        with run.step(f"{prefix}/interface", ANSWERS) as step:
            if await check_answers(run, step, *asked[False, binding], taken=taken, strictly=False):
                opened.append(asked[False, binding])
    for binding in PREFIXES:
        if (True, binding) in asked:
            # Whether its answers are right, the scenarios of version 0.3 say.
            caller, answer = asked[True, binding]
            is_shut = answer.exchange.fault is not None and answer.exchange.fault.kind is FaultKind.REFUSED
            opened += [] if is_shut else [(caller, answer)]
    check_reached(run, interfaces, [answer for _, answer in asked.values()])
    if not opened:
        run.stop_reason = run.stop_reason or "Left out: no interface of the card answers"
    return opened


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
