"""From the official checks to the steps of a report."""

from __future__ import annotations

import json
from typing import Any

from compliance.engines.catalog import StepSpec
from compliance.engines.http.exchange import Exchange
from compliance.engines.http.jsonrpc import method_of
from compliance.engines.http.redaction import Redactor
from compliance.engines.reports.model import Evidence, Notice, Scenario, Step, Verdict
from compliance.engines.suites.mcp_conformance.discover import Found
from compliance.engines.suites.mcp_conformance.rules import Facts, stricter_than_the_specification, withdrawn
from compliance.engines.suites.mcp_conformance.runner import Outcome
from compliance.engines.suites.mcp_conformance.scenarios import Official

_WORDS = 1000  # characters of one sentence
_VERDICTS = {
    "SUCCESS": Verdict.PASSED,
    "FAILURE": Verdict.FAILED,
    # A recommendation that is not followed breaks nothing, and a remark breaks nothing (R6).
    "WARNING": Verdict.SILENT,
    "INFO": Verdict.SILENT,
    "SKIPPED": Verdict.SKIPPED,
}
_OPENING_METHODS = ("initialize", "notifications/initialized", "")


class ScenarioWriter:
    """Writes the scenarios of one report, redacted, and gathers the notices that come of them."""

    def __init__(self, found: Found, redactor: Redactor, *, all_evidence: bool) -> None:
        self.found = found
        self.redactor = redactor
        self.all_evidence = all_evidence
        self.notices: list[Notice] = []
        self.withdrawn: list[str] = []  # "scenario/step" of passes that a rule of ours took away

    def clean(self, text: str) -> str:
        return self.redactor.start(text, _WORDS)

    def unrun(self, official: Official, verdict: Verdict, reason: str) -> Scenario:
        """A scenario that did not run, with its reason on each of its checks."""
        steps = tuple(
            Step(
                spec.key,
                spec.title,
                verdict,
                spec.expected,
                self.clean(reason),
                spec.spec_url,
                requirement=spec.key,
            )
            for spec in official.checks
        )
        return Scenario(official.key, official.title, steps)

    def scenario(self, official: Official, outcome: Outcome) -> Scenario:
        """A scenario that ran: its checks as they came, then those that were not reached."""
        planned = {spec.key: spec for spec in official.checks}
        steps: dict[str, Step] = {}
        for check in outcome.checks:
            key = identifier = self.redactor.start(str(check["id"]), 120)
            while key in steps:
                count = int(key.rpartition("#")[2]) + 1 if "#" in key else 2
                key = f"{identifier}#{count}"
            facts = Facts(official, check, outcome, self.found)
            steps[key] = self._step(facts, key, identifier, planned.pop(identifier, None))
        # The scenario went another way: what it would have looked at next was not looked at.
        missing = [
            Step(s.key, s.title, Verdict.SKIPPED, s.expected, "Left out: the scenario ended before it", s.spec_url)
            for s in planned.values()
        ]
        if outcome.left_out:
            self.notices.append(
                Notice("too_many_checks", f"{official.key}: {outcome.left_out} further checks are not listed")
            )
        return Scenario(official.key, official.title, (*steps.values(), *missing))

    def _step(self, facts: Facts, key: str, identifier: str, spec: StepSpec | None) -> Step:
        check, outcome = facts.check, facts.outcome
        verdict = _VERDICTS[check["status"]]
        said = self.clean(str(check.get("description") or identifier))
        spec = spec or StepSpec(key, said, said, "")
        actual = str(check.get("errorMessage") or "") or _in_words(check.get("details"))
        place = f"{facts.scenario.key}/{key}"
        rule, reason = withdrawn(facts)
        if rule:
            verdict, actual = Verdict.SILENT, reason
            self.withdrawn.append(place)
            self._note("withdrawn_pass", f"{place} passed in the official runner and does not count: {reason}")
        elif check["status"] == "WARNING":
            self._note("warning", f"{place}: {actual or said}")
        elif remark := stricter_than_the_specification(facts):
            self._note("stricter_than_specification", f"{place}: {remark}")
        evidence = None
        if (verdict is not Verdict.PASSED or self.all_evidence) and (exchange := _decisive(outcome, identifier)):
            evidence = Evidence(self.redactor.request(exchange), self.redactor.response(exchange))
        return Step(
            key=key,
            title=spec.title,
            verdict=verdict,
            expected=spec.expected,
            actual=self.clean(actual) or ("As expected" if verdict is Verdict.PASSED else said),
            spec_url=_reference(check) or spec.spec_url,
            duration_ms=outcome.ms // max(len(outcome.checks), 1),
            evidence=evidence,
            requirement=self.clean(identifier),
        )

    def _note(self, code: str, message: str) -> None:
        self.notices.append(Notice(code, self.clean(message)))


def _reference(check: dict[str, Any]) -> str:
    for reference in check.get("specReferences") or ():
        url = reference.get("url") if isinstance(reference, dict) else None
        if isinstance(url, str) and url.startswith("https://"):
            return url[:500]
    return ""


def _in_words(details: Any) -> str:
    """The plain values of a check's details; a message where there is one."""
    if not isinstance(details, dict):
        return ""
    if isinstance(details.get("message"), str):
        return str(details["message"])
    plain = [f"{k}: {json.dumps(v)}" for k, v in details.items() if isinstance(v, bool | int | float)]
    return ", ".join(plain)


def _decisive(outcome: Outcome, identifier: str) -> Exchange | None:
    """The exchange that a check is about: the last request of the scenario that is not part of opening a session."""
    asked = [e for e in outcome.exchanges if method_of(e) not in _OPENING_METHODS]
    if identifier == "localhost-host-rebinding-rejected" and outcome.exchanges:
        return outcome.exchanges[0]
    return next(reversed(asked or outcome.exchanges), None)
