"""A conversation with one interface, and the checks that are made of it."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from google.protobuf.descriptor import Descriptor
from pydantic import TypeAdapter

from compliance.engines.catalog import RuledStepSpec, ScenarioSpec
from compliance.engines.http.exchange import Exchange, Headers
from compliance.engines.http.jsonrpc import error_of, message_of, pointer, wrong_at
from compliance.engines.reports.builder import ReportBuilder, StepResult
from compliance.engines.suites.a2a.client import HTTP_JSON, JSONRPC, Answer, Caller, problem_with, said_of
from compliance.engines.suites.a2a.message_schema import Flaw, Kind, flaws
from compliance.engines.suites.assertions import locked_out

SPEC = "https://a2a-protocol.org/v1.0.0/specification/"
PREFIXES = {JSONRPC: "jsonrpc", HTTP_JSON: "http_json"}
_BEFORE_THE_ID = (-32700, -32600)  # errors that may come before a request's id is known
NAMES = {JSONRPC: "JSON-RPC", HTTP_JSON: "HTTP+JSON"}


@dataclass(slots=True)
class Session:
    """One interface, what its agent declares, and what the checks so far have found."""

    run: ReportBuilder
    caller: Caller
    card: dict[str, Any]  # as it came
    no_task: str = field(default_factory=lambda: str(uuid4()))  # an identifier that no task has
    seen: dict[str, Any] = field(default_factory=dict)  # what one check leaves to the next

    @property
    def over_http(self) -> bool:
        return self.caller.interface.binding == HTTP_JSON

    def declares(self, capability: str) -> bool:
        capabilities = self.card.get("capabilities")
        return isinstance(capabilities, dict) and capabilities.get(capability) is True

    async def ask(self, step: StepResult, operation: str, params: dict[str, Any] | None = None, **how: Any) -> Answer:
        """Ask, and make the exchange the step's evidence, unless one before it was kept from the agent."""
        answer = await self.caller.ask(operation, params, **how)
        fault = step.exchange.fault if step.exchange is not None else None
        if fault is None or fault.is_the_agents:
            step.exchange = answer.exchange
        return answer

    def locked_out(self, step: StepResult, answer: Answer) -> bool:
        """Leave out a step whose question wants a credential that this run has not, or may not send there."""
        return locked_out(self.run, step, answer.exchange)

    async def refused(
        self,
        step: StepResult,
        operation: str,
        params: dict[str, Any],
        *expected: str,
        version: str | None = None,
        headers: Headers | None = None,
    ) -> None:
        """Ask for what has to be refused, and check the error."""
        answer = await self.ask(step, operation, params, version=version, headers=headers)
        if self.locked_out(step, answer):
            return
        problem, at = problem_with(answer, *expected)
        if problem:
            step.failed(f"{problem}, as if there were nothing to refuse" if answer.has_result else problem, at=at)
        else:
            step.passed(answer.words)


CheckFunction = Callable[[Session, StepResult], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Refusal:
    """A question that has to be answered with an error."""

    operation: str
    error: str
    params: dict[str, Any] = field(default_factory=dict)
    task: str = ""  # the parameter for a task that there is not
    capability: str = ""  # without which in the card the error is `undeclared`
    undeclared: str = ""
    version: str | None = None  # of the protocol, in the request's header

    async def check(self, session: Session, step: StepResult) -> None:
        params = {**self.params, **({self.task: session.no_task} if self.task else {})}
        undeclared = self.capability and not session.declares(self.capability)
        error = self.undeclared if undeclared else self.error
        await session.refused(step, self.operation, params, error, version=self.version)


@dataclass(frozen=True, slots=True)
class Check:
    key: str
    title: str
    expected: str
    requirement: str  # as the official compatibility kit calls it, or "A2A-1.0 §<section>"
    anchor: str  # of the section in the specification
    works: bool = False  # it makes the agent work: only with allow_side_effects
    only: str = ""  # the binding that it is for
    needs: str = ""  # what an earlier check has to leave behind in `seen`
    refuses: Refusal | None = None  # all that the check asks for, when that is to be refused

    def spec(self, specification: str = SPEC) -> RuledStepSpec:
        return RuledStepSpec(self.key, self.title, self.expected, f"{specification}#{self.anchor}", self.requirement)


@dataclass(frozen=True, slots=True)
class Group:
    """The checks of one scenario."""

    key: str
    title: str
    checks: tuple[Check, ...]

    def of(self, binding: str) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if check.only in ("", binding))

    def scenario(self, specification: str = SPEC) -> ScenarioSpec:
        return ScenarioSpec(self.key, self.title, tuple(check.spec(specification) for check in self.checks))

    def scenario_of(self, binding: str) -> ScenarioSpec:
        steps = tuple(replace(check.spec(), title=f"{check.title} ({NAMES[binding]})") for check in self.of(binding))
        return ScenarioSpec(f"{PREFIXES[binding]}/{self.key}", self.title, steps)


_DATA: dict[str, tuple[Group, ...]] = TypeAdapter(dict[str, tuple[Group, ...]]).validate_python(
    tomllib.loads(Path(__file__).with_name("checks.toml").read_text("utf-8"))
)
GROUPS = _DATA["groups"]
CARD, SECURITY, INTEROP = (group.scenario() for group in _DATA["agent"])
VERSION_0_3 = tuple(group.scenario("https://a2a-protocol.org/v0.3.0/specification/") for group in _DATA["v03"])
FUNCTIONS: dict[str, CheckFunction] = {}  # by the keys of group and check


def performs(key: str) -> Callable[[CheckFunction], CheckFunction]:
    """Make a function the one of the check with this key."""

    def register(function: CheckFunction) -> CheckFunction:
        FUNCTIONS[key] = function
        return function

    return register


def first_flaw(message: Descriptor, value: Any, kinds: Iterable[Kind] = tuple(Kind)) -> Flaw | None:
    chosen = set(kinds)
    return next((flaw for flaw in flaws(message, value) if flaw.kind in chosen), None)


def check_shape(
    step: StepResult, message: Descriptor, value: Any, root: str, kinds: Iterable[Kind] = tuple(Kind)
) -> bool:
    """Check that a value is that message. root: where the value is in the exchange. Whether it is."""
    flaw = first_flaw(message, value, kinds)
    if flaw is None:
        step.passed(f"A valid {message.name}")
    else:
        step.failed(str(flaw), at=root + flaw.at)
    return flaw is None


def check_error_code(run: ReportBuilder, step: StepResult, exchange: Exchange, expected: int) -> None:
    """Check that JSON-RPC's answer is an error with this code. A gateway may lock what it does not know (E4)."""
    if locked_out(run, step, exchange):
        return
    message, wrong = message_of(exchange)
    code, text = error_of(message)
    if wrong or message is None:
        step.failed(said_of(wrong), at=wrong_at(exchange))
    elif code is None:
        step.failed("A result, as if there were nothing to refuse", at="/response/body/result")
    elif code != expected:
        step.failed(f"Error {code}: {text}", at="/response/body/error/code")
    elif code not in _BEFORE_THE_ID and message.get("id") != (sent := json.loads(exchange.request_body)["id"]):
        step.failed(f"Error {code}, but with another id than the request's, which is {sent!r}", at="/response/body/id")
    else:
        step.passed(f"Error {code}")


def at(*path: Any) -> str:
    return pointer(path)
