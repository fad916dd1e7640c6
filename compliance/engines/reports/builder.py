"""What a run has found so far, and the report that comes of it, however the run ends."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from statistics import median
from types import MappingProxyType
from typing import Any

from compliance.engines.catalog import RuledStepSpec, ScenarioSpec, StepSpec, SuiteSpec, TrackSpec, get_suite
from compliance.engines.contract import NOT_REACHED, OnStep, Progress, Target
from compliance.engines.http.client import HttpClient
from compliance.engines.http.exchange import Exchange, Fault, FaultKind
from compliance.engines.http.jsonrpc import method_of, reached
from compliance.engines.http.redaction import Redactor
from compliance.engines.reports.model import Evidence, Notice, Report, Scenario, Step, Track, Verdict

_ACTUAL_LENGTH = 1000
_FAULTS_SHOWN = 5  # faults of one listing that come with the listing each: it may be large


class StepResult:
    """One step at work: open until a verdict is set on it."""

    def __init__(self, spec: StepSpec) -> None:
        self.spec = spec
        self.verdict: Verdict | None = None
        self.actual = ""
        self.exchange: Exchange | None = None  # the evidence; the last exchange of the step when not set
        self.found_in: Exchange | None = None  # an earlier exchange, in which the fault of this step lies
        self.pointer = ""  # the failing place in the evidence

    def _set(self, verdict: Verdict, actual: str) -> None:
        self.verdict, self.actual = verdict, actual

    def passed(self, actual: str) -> None:
        self._set(Verdict.PASSED, actual)

    def failed(self, actual: str, at: str = "") -> None:
        """at: the failing place, a JSON pointer into {"request", "response"} of the exchange."""
        self._set(Verdict.FAILED, actual)
        self.pointer = at

    def skipped(self, reason: str) -> None:
        self._set(Verdict.SKIPPED, reason)

    def silent(self, reason: str) -> None:
        self._set(Verdict.SILENT, reason)

    def not_applicable(self, reason: str) -> None:
        self._set(Verdict.NOT_APPLICABLE, reason)

    def not_tested(self, reason: str) -> None:
        self._set(Verdict.NOT_TESTED, reason)


class OutOfTime(Exception):
    """The deadline of the whole run has passed."""


class Unable(Exception):
    """The machine that tests could not do its part; the agent gets no verdict."""


class PolicyRefused(Exception):
    """Our own egress rule keeps the run from the agent, which therefore gets no verdict."""


class ReportBuilder:
    def __init__(
        self, target: Target, http: HttpClient, protocol: str, on_step: OnStep | None, suite: SuiteSpec | None = None
    ) -> None:
        self.target = target
        self._suite = suite or get_suite(target.suite)
        self.http = http
        self.protocol = protocol
        self.protocol_version = ""
        self.truncated = False
        self.harness_error = ""
        self.refused = False
        self.locked = False
        self.credential_refused = 0  # the status with which the agent refused the run's own credential
        self.credential_accepted = False  # elsewhere
        self.stop_reason = ""  # why what has not run is skipped
        self.obstacles: list[str] = []  # what stood between the test and the agent, in words (E1)
        self.unreached = False  # it stood there before the agent had answered anything, or kept all answers away
        self.notices: list[Notice] = []
        self.observations: dict[str, Any] = {}
        self.redactor = Redactor(target.credential.hidden if target.credential else (), target.limits.evidence_bytes)
        # Of a step that passed, nobody asks what was sent: making and keeping that costs more than the step.
        self._all_evidence = target.all_evidence
        self._passed: dict[tuple[str, str], Exchange] = {}
        self._plan: dict[str, ScenarioSpec] = {}
        self._tracks: tuple[TrackSpec, ...] = self._suite.for_protocol(protocol)
        self._steps: dict[str, dict[str, Step]] = {}
        for track in self._tracks:
            for scenario in track.scenarios:
                self._plan[scenario.key] = scenario
                self._steps[scenario.key] = {}
        chosen = target.options.get("scenarios") or ()
        self._chosen = {str(key) for key in chosen} & self._plan.keys() if chosen else set(self._plan)
        self._on_step = on_step
        self._done = 0
        self._shown = 0
        self.expected_steps = sum(len(self._plan[key].steps) for key in self._chosen)

    def wants(self, scenario: str) -> bool:
        return scenario in self._chosen

    @property
    def may_be_another(self) -> bool:
        """Whether the agent, asked again, may say that it speaks another protocol than the run's."""
        ended = self.truncated or self.harness_error or self.locked or self.credential_refused
        for exchange in self.http.exchanges:
            if (fault := exchange.fault) is None or fault.kind is FaultKind.REFUSED:
                continue  # an address that a card names, and a test may not use, says nothing about the agent's own
            # Asking begins with initialize: whoever breaks that off would do so again.
            if not fault.is_the_agents or method_of(exchange) == "initialize":
                return False
        return not (ended or self.protocol_version)

    def option(self, key: str) -> Any:
        if key in self.target.options:
            return self.target.options[key]
        return next(option.default for option in self._suite.options if option.key == key)

    def spec(self, scenario: str, key: str) -> StepSpec:
        return next(step for step in self._plan[scenario].steps if step.key == key)

    def done(self, scenario: str, key: str) -> bool:
        return key in self._steps[scenario]

    @contextmanager
    def step(self, scenario: str, key: str | StepSpec) -> Iterator[StepResult]:
        """One step. Its time, its evidence and its place in the report are taken care of."""
        spec = self.spec(scenario, key) if isinstance(key, str) else key
        if self.http.time_is_up():
            raise OutOfTime
        self._report_progress(spec.title)
        result = StepResult(spec)
        first, started = len(self.http.exchanges), time.perf_counter()
        yield result
        exchange = result.exchange or (self.http.exchanges[-1] if len(self.http.exchanges) > first else None)
        fault = self._fault_of(exchange, first)
        if fault is not None and fault.kind is FaultKind.DEADLINE and result.verdict is not Verdict.PASSED:
            raise OutOfTime
        if fault is not None and fault.kind is FaultKind.OURS and result.verdict is not Verdict.PASSED:
            raise Unable(fault.message)
        if fault is not None and not fault.is_the_agents and result.verdict is Verdict.FAILED:
            result.not_tested(result.actual)
            answered = any(each.status and each.fault is None for each in self.http.exchanges)
            self.obstruct(fault.message, unreached=not answered)
        self._record(scenario, result, int((time.perf_counter() - started) * 1000), exchange)

    def _fault_of(self, exchange: Exchange | None, first: int) -> Fault | None:
        """The fault that decides a step: of all that it asked, one that is not the agent's."""
        faults = [each.fault for each in self.http.exchanges[first:] if each.fault is not None]
        own = exchange.fault if exchange is not None else None
        return next((fault for fault in faults if not fault.is_the_agents), own)

    def obstruct(self, words: str, *, unreached: bool = True) -> None:
        """Note what stood between the test and the agent, for which the agent is not to blame.

        unreached: the run says nothing of the agent, whatever else it found.
        """
        self.unreached = self.unreached or unreached
        if words not in self.obstacles:
            self.obstacles.append(words)

    def _record(self, scenario: str, result: StepResult, duration_ms: int, exchange: Exchange | None) -> None:
        if result.verdict is None:
            raise AssertionError(f"step {result.spec.key} ended without a verdict")
        spec, evidence = result.spec, None
        if exchange is not None:
            if result.exchange is not None:
                duration_ms = int(exchange.seconds * 1000)
            if result.verdict is not Verdict.PASSED or self._all_evidence:
                evidence = self._evidence_of(exchange, result.pointer)
            if result.verdict is Verdict.PASSED:
                self._passed[scenario, spec.key] = exchange
        elif result.found_in is not None and self._shown < _FAULTS_SHOWN:
            self._shown += 1
            evidence = self._evidence_of(result.found_in, result.pointer)
        self._put(scenario, spec, result.verdict, result.actual, duration_ms, evidence)
        self._done += scenario in self._chosen

    def keep_evidence(self, scenario: str, key: str, found_in: Exchange | None = None, at: str = "") -> None:
        """Keep what was answered in a step that passed, because a later one finds fault with it.

        found_in: the exchange at fault, where the step had several; at: the failing place in it.
        """
        exchange = self._passed.pop((scenario, key), None)
        if exchange is not None:
            step = self._steps[scenario][key]
            self._steps[scenario][key] = dataclasses.replace(step, evidence=self._evidence_of(found_in or exchange, at))

    def _evidence_of(self, exchange: Exchange, at: str = "") -> Evidence:
        request, response = self.redactor.request(exchange), self.redactor.response(exchange)
        # What is missing has no place: then what misses it.
        found_at = reached({"request": request, "response": response}, at)
        in_text = found_at != at and response is not None and isinstance(response.get("body"), str)
        return Evidence(request, response, "" if in_text or found_at.count("/") < 2 else found_at)

    def _put(
        self,
        scenario: str,
        spec: StepSpec,
        verdict: Verdict,
        actual: str,
        ms: int = 0,
        evidence: Evidence | None = None,
    ) -> None:
        self._steps[scenario][spec.key] = Step(
            key=self.redactor.text(spec.key),
            title=self.clean(spec.title),
            verdict=verdict,
            expected=spec.expected,
            actual=self.clean(actual[:1].upper() + actual[1:]),
            spec_url=spec.spec_url,
            duration_ms=ms,
            evidence=evidence,
            requirement=spec.requirement if isinstance(spec, RuledStepSpec) else "",
        )

    def said(self, value: Any, length: int) -> str:
        """What the agent said, as text of at most `length` characters: redacted first, and then cut."""
        return self.redactor.start(str(value), length)

    def clean(self, text: str) -> str:
        """Text that may quote the agent: redacted and of a bearable length."""
        return self.redactor.start(text, _ACTUAL_LENGTH)

    def _report_progress(self, title: str) -> None:
        if self._on_step is not None:
            self._on_step(Progress(self.clean(title), self._done, max(self.expected_steps, self._done + 1)))

    def notice(self, code: str, message: str) -> None:
        self.notices.append(Notice(code, self.clean(message)))

    def observe(self, key: str, value: Any) -> None:
        self.observations[key] = self.redactor.value(value) if not isinstance(value, str) else self.said(value, 300)

    def _fill(self) -> None:
        """Give what was planned and has no verdict the one that says why."""
        cut = self.truncated or bool(self.harness_error or self.obstacles)
        verdict = Verdict.NOT_TESTED if cut else Verdict.SKIPPED
        if self.harness_error:
            reason = "Not reached: the test itself stopped"
        elif self.truncated:
            reason = NOT_REACHED
        elif self.obstacles:
            reason = f"Not reached: {self.obstacles[0]}"
        else:
            reason = self.stop_reason or "Left out: something earlier has to work first"
        for key, scenario in self._plan.items():
            for spec in scenario.steps:
                if spec.key not in self._steps[key]:
                    self._put(key, spec, verdict, reason)

    def _latency(self) -> None:
        timed = [e.seconds * 1000 for e in self.http.exchanges if e.status and e.fault is None]
        if not timed:
            return
        middle = median(timed)
        self.observations["latency_ms"] = round(middle, 1)
        self.observations["latency_max_ms"] = round(max(timed), 1)
        self.observations["requests"] = len(self.http.exchanges)
        if middle > self.target.limits.slow_ms:
            self.notice("slow", f"Half of the requests took longer than {middle / 1000:.1f} s")

    def _certificate(self) -> None:
        days = self.http.certificate_days()
        if days is None:
            return
        self.observations["certificate_days"] = days
        self.observations["tls_version"] = self.http.backend.tls_version
        if days < 14:
            self.notice("certificate", f"The certificate runs out in {days} days")

    def report(
        self,
        engine: str,
        engine_version: str,
        *,
        spec_version: str = "",
        runtime: Mapping[str, str] = MappingProxyType({}),
        full: bool = True,
    ) -> Report:
        self._fill()
        self._latency()
        self._certificate()
        tracks = []
        for track in self._tracks:
            scenarios = tuple(
                Scenario(scenario.key, scenario.title, self._ordered(scenario))
                for scenario in track.scenarios
                if scenario.key in self._chosen and self._steps[scenario.key]
            )
            if scenarios:
                tracks.append(Track(track.key, track.title, scenarios))
        report = Report(
            engine=engine,
            engine_version=engine_version,
            suite=self.target.suite,
            protocol=self.protocol,
            protocol_version=self.said(self.protocol_version, 40),
            tracks=tuple(tracks),
            duration_ms=int((time.perf_counter() - self.http.started) * 1000),
            truncated=self.truncated,
            harness_error=self.said(self.harness_error, 300),
            refused=self.refused,
            locked=self.locked,
            notices=tuple(self.notices),
            observations=self.observations,
            suite_version=self.target.suite_version,
            spec_version=spec_version,
            runtime=dict(runtime),
            full=full,
        )
        held = self.target.credential
        if held and self.credential_refused:
            name, at_the_door = self.said(held.name, 100), not self.credential_accepted
            report = report.without_access(name, self.credential_refused, wholly=at_the_door)
        if self.obstacles:
            report = report.obstructed(self.clean(self.obstacles[0]), wholly=self.unreached)
        return report

    def _ordered(self, scenario: ScenarioSpec) -> tuple[Step, ...]:
        """In the order of the plan, then as they came."""
        steps = dict(self._steps[scenario.key])
        planned = [steps.pop(spec.key) for spec in scenario.steps if spec.key in steps]
        return (*planned, *steps.values())
