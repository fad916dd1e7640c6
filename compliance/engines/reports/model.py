"""The report: what an engine returns for one execution of a suite version against a URL.

Three levels: track > scenario > step. Nothing here imports Django, and nothing here is
mutable after an engine returned it: a report is evidence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

CONNECTIVITY = "connectivity"  # the key of the track whose failures mean that the agent could not be reached

NOT_ACCEPTED = "credential_not_accepted"  # the notice of a run whose credential the agent refused

# Observations that differ from run to run by their nature, or say the outcome again: they explain no change of verdict.
MEASURED = frozenset(
    {
        *("latency_ms", "latency_max_ms", "requests", "certificate_days", "memory_mb"),
        *("official_status", "official_counts", "official_tracks"),
    }
)


class Verdict(StrEnum):
    """What one step says. The five ways of not passing are five different things (R6)."""

    PASSED = "passed"
    FAILED = "failed"  # the agent broke the rule
    SKIPPED = "skipped"  # could have run, was left out: a precondition failed earlier, or it would change something
    SILENT = "silent"  # ran; nothing observable to judge; not a failure
    NOT_APPLICABLE = "not_applicable"  # the agent does not declare what the step is about
    NOT_TESTED = "not_tested"  # never reached: time ran out or the harness broke


class Overall(StrEnum):
    """What a whole run says about the agent."""

    PASSING = "passing"
    PARTIAL = "partial"  # some steps failed and some passed
    FAILING = "failing"  # nothing that could pass did, or the agent could not be reached
    INCONCLUSIVE = "inconclusive"  # says nothing about the agent: harness broke, time ran out


@dataclass(frozen=True, slots=True)
class Evidence:
    """The exchange behind a step, already redacted and capped by the engine.

    request: {"method", "url", "headers", "body"}; response: {"status", "headers", "body", "ms"}, with
    "redirected_to" or "fault" where there was one; ms: of the whole exchange. JSON-serialisable;
    text payloads over the cap end in a note of the cut. pointer: the failing place as a JSON pointer (RFC 6901) into
    {"request": …, "response": …}, "" where the whole exchange is meant.
    """

    request: Any = None
    response: Any = None
    pointer: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    key: str  # unique within its scenario, stable between versions
    title: str  # one sentence, in the present tense: "Unknown tool is answered with an error"
    verdict: Verdict
    expected: str = ""  # what the rule asks for, in words
    actual: str = ""  # what came, in words
    spec_url: str = ""  # the passage of the specification
    duration_ms: int = 0
    evidence: Evidence | None = None  # as a rule only when the step did not pass
    requirement: str = ""  # the rule's own identifier in the specification or the official suite, if it has one

    def stored(self) -> dict[str, Any]:
        """The step as a run keeps it, without the evidence."""
        stored = {
            "key": self.key,
            "title": self.title,
            "verdict": self.verdict.value,
            "expected": self.expected,
            "actual": self.actual,
            "spec_url": self.spec_url,
            "duration_ms": self.duration_ms,
        }
        if self.requirement:
            stored["requirement"] = self.requirement
        return stored


@dataclass(frozen=True, slots=True)
class Scenario:
    key: str  # unique within the report; may hold slashes (R12)
    title: str
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Track:
    key: str
    title: str
    scenarios: tuple[Scenario, ...]


@dataclass(frozen=True, slots=True)
class Notice:
    """Something worth saying that never changes a verdict (for example: slow, deprecated version)."""

    code: str
    message: str


def _all(count: int) -> str:
    return "The only check" if count == 1 else f"All {count} checks"


@dataclass(frozen=True, slots=True)
class Report:
    engine: str
    engine_version: str
    suite: str  # the suite's slug
    protocol: str  # "mcp", "a2a", "adcp" or "" when the agent's protocol could not be found
    protocol_version: str  # as negotiated; "" when it was not
    tracks: tuple[Track, ...]
    duration_ms: int
    truncated: bool = False  # time or size ran out before all steps ran: inconclusive (R7)
    harness_error: str = ""  # the verifier broke, in words without secrets; inconclusive (R7)
    refused: bool = False  # it could not be tested as asked, and harness_error says why: a rule of ours, a bad secret
    locked: bool = False  # the agent wants a credential that the run did not have
    notices: tuple[Notice, ...] = ()
    observations: dict[str, Any] = field(default_factory=dict)  # latency_ms, server name and version, counts of tools
    suite_version: str = ""  # as the engine was told; what the run is recorded under comes from the request
    spec_version: str = ""  # of the specification that the checks were written against
    runtime: dict[str, str] = field(default_factory=dict)  # what ran, by name: python, node, the official package
    full: bool = True  # all that the suite has for this agent; a part of it never moves a status (R10)

    @classmethod
    def broken(
        cls, engine: str, suite: str, protocol: str, reason: str, *, truncated: bool = False, refused: bool = False
    ) -> Report:
        """What stands where there is no report: an inconclusive one that says why (R7)."""
        return cls(
            engine=engine,
            engine_version="",
            suite=suite,
            protocol=protocol,
            protocol_version="",
            tracks=(),
            duration_ms=0,
            truncated=truncated,
            refused=refused,
            harness_error=reason,
        )

    def steps(self) -> Iterator[tuple[Track, Scenario, Step]]:
        """Every step with its track and scenario, in order."""
        for track in self.tracks:
            for scenario in track.scenarios:
                for step in scenario.steps:
                    yield track, scenario, step

    def without_access(self, name: str, status: int = 0) -> Report:
        """The report of a run whose credential the agent refused, which is therefore inconclusive.

        The secret was ours to supply: a wrong one says nothing about the agent. The steps stay as they were judged.
        name: what its organization calls the credential, redacted, or ""; status: of the answer, 0 when not known.
        """
        if self.harness_error:
            return self
        called = f" “{name}”" if name else ""
        answered = f" (HTTP {status})" if status else ""
        reason = f"The agent refused the credential{called}{answered}. Replace it, or test without one"
        notice = Notice(NOT_ACCEPTED, f"{reason}.")
        return replace(self, refused=True, harness_error=reason, notices=(*self.notices, notice))

    def counts(self) -> dict[str, int]:
        """How many steps each verdict has; every verdict is a key, zero included."""
        tally = Counter(step.verdict for _, _, step in self.steps())
        return {verdict.value: tally[verdict] for verdict in Verdict}

    def overall(self) -> Overall:
        """The run's status, from the steps alone: engines do not choose it.

        A truncated or broken run, and one in which nothing could be judged, is inconclusive (R7). So is
        one that found no fault at a locked door: what is behind it was not seen, and a green mark would say so.
        """
        counts = self.counts()
        passed, failed = counts[Verdict.PASSED], counts[Verdict.FAILED]
        if self.truncated or self.harness_error or passed + failed == 0:
            return Overall.INCONCLUSIVE
        if failed == 0:
            return Overall.INCONCLUSIVE if self.locked else Overall.PASSING
        # Whoever cannot be reached fails, however good its certificate is.
        unreached = any(t.key == CONNECTIVITY and s.verdict is Verdict.FAILED for t, _, s in self.steps())
        return Overall.PARTIAL if passed and not unreached else Overall.FAILING

    def headline(self) -> str:
        """One sentence for lists: the first failure by name, or what passed and what was left out (R6)."""
        counts = self.counts()
        if self.refused:
            return f"Not tested: {self.harness_error}"[:300]
        if self.harness_error:
            return f"Inconclusive: the test itself broke ({self.harness_error})"[:300]
        if self.truncated:
            judged = counts[Verdict.PASSED] + counts[Verdict.FAILED]
            return f"Inconclusive: time ran out after {judged} of {sum(counts.values())} checks"
        failures = [step.title for _, _, step in self.steps() if step.verdict is Verdict.FAILED]
        judged = counts[Verdict.PASSED] + counts[Verdict.FAILED]
        if not judged:
            return "Inconclusive: nothing could be judged"
        if not failures:
            left_out = [
                f", {counts[verdict]} {words}"
                for verdict, words in ((Verdict.SKIPPED, "skipped"), (Verdict.NOT_TESTED, "not tested"))
                if counts[verdict]
            ]
            passed = f"{_all(judged)} passed" + "".join(left_out)
            return f"Inconclusive: the agent wants a credential. {passed}" if self.locked else passed
        more = f" and {len(failures) - 1} more" if len(failures) > 1 else ""
        failed = "The only check" if judged == 1 else f"{len(failures)} of {judged} checks"
        return f"{failed} failed: “{failures[0]}”{more}"[:300]

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values, which schema/report-1.json describes; evidence included."""
        from compliance.engines.reports import serialization as report_json  # which knows this module

        return report_json.to_json(self)

    @staticmethod
    def from_json(data: Any) -> Report:
        """The report that this JSON is. Raises report_json.BadReport for what the schema refuses."""
        from compliance.engines.reports import serialization as report_json

        return report_json.from_json(data)

    def tracks_json(self) -> list[dict[str, Any]]:
        """The tracks as stored with the run: everything but the evidence, which lives in its own table."""
        # Written out: dataclasses.asdict would copy all the evidence, only to throw it away.
        return [
            {
                "key": track.key,
                "title": track.title,
                "scenarios": [
                    {"key": scenario.key, "title": scenario.title, "steps": [step.stored() for step in scenario.steps]}
                    for scenario in track.scenarios
                ],
            }
            for track in self.tracks
        ]
