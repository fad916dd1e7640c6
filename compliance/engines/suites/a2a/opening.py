"""How every run against an A2A agent begins: its card, the interfaces that it declares, and whether they answer."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx2

from compliance.engines.agent_cards import OLD_CARD_PATH, card_version, find_card
from compliance.engines.http.exchange import Exchange, FaultKind
from compliance.engines.http.jsonrpc import read_json, wrong_at
from compliance.engines.reports.builder import ReportBuilder, StepResult
from compliance.engines.reports.digest import digest_of_card
from compliance.engines.suites.a2a.card import ReadCard, read_card
from compliance.engines.suites.a2a.client import HTTP_JSON, JSONRPC, Answer, Caller, Interface
from compliance.engines.suites.assertions import check_challenge, check_connection, check_credential, note_locked

_REACH = "connectivity/reach"
_BODY = "/response/body"
_MOST = 100  # interfaces of an old card that are compared with one another
_NOT_SENT = "is sent to the registered host alone"
SPOKEN = (JSONRPC, HTTP_JSON)
Found = tuple[str, str]  # the keys of a scenario and a step
HOW_CALLED = {"GRPC": "gRPC", JSONRPC: "JSON-RPC", HTTP_JSON: "HTTP+JSON"}


@dataclass(frozen=True, slots=True)
class Card:
    """An agent card as it came, and where."""

    document: dict[str, Any]
    exchange: Exchange
    path: str
    flaw: str = ""  # of the document, which could be read all the same
    flaw_at: str = ""

    @property
    def is_old(self) -> bool:
        return "supportedInterfaces" not in self.document

    def interfaces(self) -> list[Interface]:
        """The interfaces that the card declares, the preferred one first."""
        card, found = self.document, []
        if not self.is_old:
            listed = card["supportedInterfaces"]
            for number, entry in enumerate(listed if isinstance(listed, list) else ()):
                if isinstance(entry, dict):
                    names = ("url", "protocolBinding", "protocolVersion", "tenant")
                    url, binding, spoken, tenant = (str(entry.get(name) or "") for name in names)
                    found.append(Interface(number, url, _binding(binding), spoken, tenant))
            return found
        # Before 0.2.5 cards did not say their version.
        version = card_version(card) or ("0.2" if self.path.endswith(OLD_CARD_PATH) else "0.3.0")
        preferred = _binding(str(card.get("preferredTransport") or JSONRPC))
        found.append(Interface(0, str(card.get("url", "")), preferred, version))
        more = card.get("additionalInterfaces")
        for number, entry in enumerate(more[:_MOST] if isinstance(more, list) else (), 1):
            if isinstance(entry, dict):
                transport = _binding(str(entry.get("transport", "")))
                one = Interface(number, str(entry.get("url", "")), transport, version)
                found += [] if any((one.url, one.binding) == (i.url, i.binding) for i in found) else [one]
        return found


def _binding(name: str) -> str:
    """The binding as the specification writes it, where only upper and lower case differ."""
    return name.upper() if name.upper() in HOW_CALLED else name


async def reach_card(run: ReportBuilder, scenario: str) -> Card | None:
    """Reach an A2A agent by its card. None when there is nothing more to ask.

    scenario: in which its asking for credentials is checked.
    """
    with run.step(_REACH, "reachable") as step:
        search = await find_card(run.http, run.target.url)
        exchange = step.exchange = search.exchange
        reached = check_connection(run, exchange, step)
    if not reached:
        return None
    if exchange.is_locked:
        check_credential(run, scenario, exchange)
        return None
    with run.step(_REACH, "speaks") as step:
        step.exchange = exchange
        if search.document is None:
            path = httpx2.URL(exchange.url).path
            if search.agent_of_other:
                words, at = f"the one at {path} is of another agent, {search.agent_of_other}", f"{_BODY}"
            elif exchange.status == 200:
                words, at = f"{path} answered with something else", wrong_at(exchange)
            else:
                words, at = f"status {exchange.status} at {path}", "/response/status"
            step.failed(f"There is no agent card: {words}", at=at)
            run.stop_reason = "Left out: there is no agent card"
            return None
        step.passed(f"An agent card was answered at {search.path}")
    card = Card(search.document, exchange, search.path, search.flaw, search.flaw_at)
    for key, name, length in (("name", "agent_name", 100), ("version", "agent_version", 50)):
        run.observe(name, run.said(card.document.get(key, ""), length))
    if digest := digest_of_card(card.document):
        run.observe("tools_digest", digest)
    return card


def check_found(run: ReportBuilder, step: StepResult, card: Card) -> None:
    """Check that a card is where its version of the protocol says, and comes as JSON."""
    step.exchange, version = card.exchange, card_version(card.document)
    is_first = card.is_old and not re.match(r"0\.[3-9]|[1-9]", version)  # 0.2, or no version at all
    if card.path.endswith(OLD_CARD_PATH) and not is_first:
        step.failed(f"Found only under the older name, {card.path}", at="/request/url")
    elif card.exchange.media_type not in ("application/json", "application/a2a+json"):
        kind = card.exchange.media_type or "missing"
        step.failed(f"Found at {card.path}, with the content type {kind}", at="/response/headers/content-type")
    elif card.flaw:
        step.failed(f"Found at {card.path}, as a document that is {card.flaw}", at=_BODY + card.flaw_at)
    else:
        step.passed(f"Found at {card.path}")
    if card.is_old:
        said = f"version {run.said(version, 40)}" if version else "version 0.2"
        run.notice("old_version", f"The agent speaks A2A {said}, which is superseded")


async def check_required(run: ReportBuilder, found: Found, step: StepResult, card: Card) -> ReadCard:
    """Check that a card is complete. found: the step that has the card as its evidence."""
    # In a thread, so that the other runs of this process are not held up.
    read = await asyncio.to_thread(read_card, card.document, run.target.limits.card_nodes)
    if read.problem:
        blame(run, found, step, card, read.problem, read.at)
    else:
        step.passed("Complete")
    if read.card is None:
        run.stop_reason = "Left out: the agent card cannot be used"
    return read


def blame(run: ReportBuilder, found: Found, step: StepResult, card: Card, problem: str, where: str) -> None:
    """Fail a step for something in the card, which is kept as the evidence of the step that found it."""
    run.keep_evidence(*found, at=_BODY + where)
    step.found_in = card.exchange
    step.failed(problem, at=_BODY + where)


async def ask_all(run: ReportBuilder, interfaces: Iterable[Interface]) -> list[tuple[Caller, Answer]]:
    """Ask each interface for a task that there is not: every working one answers, and nothing changes."""
    no_task = {"id": str(uuid4())}
    return [((caller := Caller(run.http, each)), await caller.ask("GetTask", no_task)) for each in interfaces]


def is_taken(run: ReportBuilder, answers: Iterable[Answer]) -> bool:
    """Whether some interface takes the run's credential."""
    return any(_has_credential(run, each) and not each.wants_credential and not each.wrong for each in answers)


async def check_answers(
    run: ReportBuilder, step: StepResult, caller: Caller, answer: Answer, *, taken: bool, strictly: bool = True
) -> bool:
    """Check that an interface answers in its binding. Whether it can be asked further.

    taken: another interface takes the run's credential, so that one that refuses it is at fault.
    """
    exchange = step.exchange = answer.exchange
    if exchange.fault is not None and exchange.fault.kind is FaultKind.REFUSED:
        step.not_tested(f"The card points to where a test may not go: {exchange.fault.message}")
    elif answer.wants_credential and not _has_credential(run, answer):
        elsewhere = f", which {_NOT_SENT}" if run.target.credential else ""
        step.passed(f"Answered with status {exchange.status}: it wants a credential{elsewhere}")
        note_locked(run)
        return True
    elif answer.wants_credential and taken:
        step.failed(f"Refused with status {exchange.status} what another interface takes", at="/response/status")
    elif answer.wants_credential:
        step.passed(f"Answered with status {exchange.status}: it wants another credential")
        return True
    else:
        problem, at = await problem_of(step, caller, answer, strictly=strictly)
        if not problem:
            step.passed(f"Answered after {exchange.seconds * 1000:.0f} ms")
            return True
        step.failed(problem, at=at)
    return False


def _has_credential(run: ReportBuilder, answer: Answer) -> bool:
    """Whether the run's credential was sent: it goes to no other host than the registered one (V1)."""
    held = run.target.credential
    sent = {name.lower() for name, _ in answer.exchange.sent_headers}
    return held is not None and held.header.lower().encode() in sent


async def problem_of(step: StepResult, caller: Caller, answer: Answer, *, strictly: bool = True) -> tuple[str, str]:
    """Why an answer is none of the interface's binding, and where; ("", "") when it is one, right or wrong.

    strictly: also one of the right form is none, when the address answers everything so.
    """
    exchange = answer.exchange
    if exchange.fault is not None or (answer.wrong and not answer.speaks):
        return answer.words, answer.root
    if answer.over_http and exchange.status >= 500:
        return answer.words, "/response/status"
    has_form = answer.error or (not strictly and not answer.wrong)
    if answer.over_http and not has_form:
        url = f"{caller.interface.url.rstrip('/')}/{uuid4()}"
        other = await caller.http.send("GET", url, exchange.request_headers)
        if other.fault is not None:
            step.exchange = other
            return f"Another address below it could not be compared: {other.fault.message}", "/response/fault"
        if _form(other) == _form(exchange):
            # A web server's own page for whatever is not there: nothing of the protocol was seen.
            return f"Status {exchange.status}, as for any other address below it", "/response/status"
    return "", ""


def _form(exchange: Exchange) -> tuple[int, str, Any]:
    """An answer without what may differ from one request to the next, such as an address, a time or an identifier."""
    read = read_json(bytes(exchange.body))
    return exchange.status, exchange.media_type, None if read.problem else _shape(read.value)


def _shape(value: Any, levels: int = 20) -> Any:
    """The names and types of a JSON value."""
    if levels and isinstance(value, dict):
        return {name: _shape(each, levels - 1) for name, each in value.items()}
    if levels and isinstance(value, list):
        return [_shape(each, levels - 1) for each in value]
    return type(value).__name__


def check_reached(run: ReportBuilder, interfaces: Sequence[Interface], answers: Sequence[Answer]) -> None:
    """Make the run inconclusive when it reached nothing that the card declares (E2). answers: of what was asked."""
    faults = [answer.exchange.fault for answer in answers]
    kinds = {fault.kind if fault is not None else None for fault in faults}
    if not kinds and all(interface.binding for interface in interfaces):
        named = ", ".join(dict.fromkeys(HOW_CALLED.get(i.binding, i.binding) for i in interfaces)) or "no interface"
        run.obstruct(f"The card declares {run.said(named, 100)} alone, which is not spoken here")
    elif kinds == {FaultKind.REFUSED}:
        run.obstruct("None of the interfaces that the card declares is at an address that may be tested")
    elif kinds and kinds <= {FaultKind.REFUSED, FaultKind.CONNECT}:
        said = next(fault.message for fault in faults if fault is not None and fault.kind is FaultKind.CONNECT)
        run.obstruct(f"No interface that the card declares could be reached: {said}")


async def check_door(run: ReportBuilder, scenario: str, caller: Caller, answer: Answer) -> bool:
    """Check how the agent asks for credentials. False when it wants one that the run has not."""
    if answer.wants_credential and run.target.credential is not None and not _has_credential(run, answer):
        check_challenge(run, scenario, answer.exchange)
        with run.step(scenario, "accepted") as step:
            step.not_tested(f"The stored credential {_NOT_SENT}")
        run.stop_reason = "Left out: the interface wants a credential, and is on another host than the registered one"
        return False
    if not check_credential(run, scenario, answer.exchange):
        return False
    if run.target.credential is not None:
        bare = await caller.ask("GetTask", {"id": str(uuid4())}, with_credential=False)
        check_challenge(run, scenario, bare.exchange)
    else:
        leave_out_credentials(run, scenario, "The agent answers without credentials")
    return True


def leave_out_credentials(run: ReportBuilder, scenario: str, reason: str) -> None:
    for key in ("unauthorized", "accepted"):
        if not run.done(scenario, key):
            with run.step(scenario, key) as step:
                step.not_applicable(reason)
