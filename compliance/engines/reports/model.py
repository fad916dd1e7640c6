"""The report: what an engine returns for one execution of a suite version against a URL.

Three levels: track > scenario > step. These classes are the one description of a report: pydantic validates by them,
writes the JSON form with them and generates the published JSON Schema from them (schema/report-1.json). Engines make
reports freely; what they made is validated, and its text cleaned, once: by validation.py, where it enters.

Nothing here imports Django, and a report is never changed: it is evidence.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    FailFast,
    Field,
    TypeAdapter,
    ValidationInfo,
    WithJsonSchema,
    with_config,
)
from pydantic_core import PydanticCustomError

from compliance.engines.reports.text import is_deeper, is_storable, mended, storable_text

EVIDENCE_BYTES = 256 * 1024  # of one step's, as JSON: payloads are capped at 64 KiB, and escapes make them longer
OPEN_LEVELS = 245  # how deep it may be nested; our engines cut at 40, and what writes the API's answers gives up at 255
OPEN_BYTES = 32 * 1024 * 1024  # of all that is free in form: observations and evidence

CONNECTIVITY = "connectivity"  # the key of the track whose failures mean that the agent could not be reached

NOT_ACCEPTED = "credential_not_accepted"  # the notice of a run whose credential the agent refused
OBSTRUCTED = "obstructed"  # the notice of a run in whose way something stood that is not the agent's

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
    SILENT = "silent"  # ran; nothing observable; not a failure
    NOT_APPLICABLE = "not_applicable"  # the agent does not declare what the step is about
    NOT_TESTED = "not_tested"  # never reached: time ran out or the harness broke


class Overall(StrEnum):
    """What a whole run says about the agent."""

    PASSING = "passing"
    PARTIAL = "partial"  # some steps failed and some passed
    FAILING = "failing"  # nothing that could pass did, or the agent could not be reached
    INCONCLUSIVE = "inconclusive"  # says nothing about the agent: harness broke, time ran out


@dataclass(slots=True)
class Sizes:
    """What one validation has counted so far: the context that pydantic hands to the validators."""

    open_bytes: int = 0


def _text(most: int, about: str | None = None, *, least: int = 0, pattern: str | None = None) -> Any:
    return Field(strict=True, min_length=least or None, max_length=most, pattern=pattern, description=about)


def _flag(about: str) -> Any:
    return Field(strict=True, description=about)


def _unless(default: Any) -> Any:
    """The JSON form leaves the field out when it says nothing."""
    return Field(exclude_if=lambda value: value == default)


def _whole(value: Any) -> Any:
    """5.0 is an integer in JSON."""
    return int(value) if type(value) is float and value.is_integer() else value


def _payload(value: Any) -> Any:
    if value is None or isinstance(value, dict | list | str):
        return value
    raise PydanticCustomError("payload", "is no object, array, text or null")


def _open(value: Any, most: int, info: ValidationInfo) -> bool:
    """Check what is free in form: it must be JSON all the same, and of a bearable size. False: it has to be mended."""
    try:
        text = json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        raise PydanticCustomError("open", "is not JSON") from None
    if len(text) > most:
        raise PydanticCustomError("open", f"more than {most:,} bytes")
    # Most have too few brackets to be deep; the rest are walked.
    if text.count("[") + text.count("{") > OPEN_LEVELS and is_deeper(value, OPEN_LEVELS):
        raise PydanticCustomError("open", f"more than {OPEN_LEVELS} levels")
    if isinstance(info.context, Sizes):
        info.context.open_bytes += len(text)
        if info.context.open_bytes > OPEN_BYTES:
            raise PydanticCustomError("open", f"more than {OPEN_BYTES:,} bytes of evidence in all")
    return is_storable(text)


def _kept_evidence(evidence: Evidence | None, info: ValidationInfo) -> Evidence | None:
    if evidence is None:
        return None
    form = {"request": evidence.request, "response": evidence.response} | (
        {"pointer": evidence.pointer} if evidence.pointer else {}
    )
    if _open(form, EVIDENCE_BYTES, info):
        return evidence
    return replace(evidence, request=mended(evidence.request), response=mended(evidence.response))


def _kept_observations(observations: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
    kept = _open(observations, OPEN_BYTES, info)
    return observations if kept else {key: mended(value) for key, value in observations.items()}


_CLEAN = BeforeValidator(storable_text)
_ORDERED = FailFast()  # a report of a hundred thousand bad steps has one first bad place
_CONFIG = ConfigDict(extra="forbid", revalidate_instances="always")
_MILLISECONDS = Field(strict=True, ge=0, le=2**31 - 1)
_WHOLE = BeforeValidator(_whole)
_NOT_EMPTY, _TRUE = _unless(""), _unless(False)
_PAYLOAD = BeforeValidator(_payload)
_POINTER = "The failing place: a JSON pointer (RFC 6901) into request and response; empty for the whole exchange."
_REQUIREMENT = "The rule's identifier in the specification or the official suite, if it has one."
_VERSION = "The adapter's version, with that of the official package it runs."
_HARNESS = "What broke in the verifier, in words without secrets; such a run is inconclusive."
_PAYLOAD_SCHEMA = WithJsonSchema({"type": ["object", "array", "string", "null"]})


@with_config(_CONFIG)
@dataclass(frozen=True, slots=True)
class Evidence:
    """The exchange behind a step, redacted and capped by the engine: at most 262144 bytes as JSON.

    Of HTTP, request has method, url, headers and body; response has status, headers, body and ms, with redirected_to
    or fault where there was one. Payloads over the cap end in a note of the cut.
    """

    request: Annotated[Any, _PAYLOAD, _PAYLOAD_SCHEMA]
    response: Annotated[Any, _PAYLOAD, _PAYLOAD_SCHEMA]
    pointer: Annotated[str, _text(2000, _POINTER, pattern="^(/|$)"), _CLEAN, _NOT_EMPTY] = ""


@with_config(_CONFIG)
@dataclass(frozen=True, slots=True)
class Step:
    """One rule, and what came of it."""

    key: Annotated[str, _text(300, "Unique within its scenario, stable between versions.", least=1), _CLEAN]
    title: Annotated[str, _text(1000, "One sentence, in the present tense.", least=1), _CLEAN]
    verdict: Annotated[Verdict, WithJsonSchema({"enum": [verdict.value for verdict in Verdict]})]
    expected: Annotated[str, _text(10_000, "What the rule asks for, in words."), _CLEAN] = ""
    actual: Annotated[str, _text(10_000, "What came, in words."), _CLEAN] = ""
    spec_url: Annotated[str, _text(2000, "The passage of the specification.", pattern=r"^(https?://\S+)?$"), _CLEAN] = (
        ""
    )
    duration_ms: Annotated[int, _MILLISECONDS, _WHOLE] = 0
    evidence: Annotated[Evidence | None, AfterValidator(_kept_evidence), _unless(None)] = None
    requirement: Annotated[str, _text(200, _REQUIREMENT), _CLEAN, _NOT_EMPTY] = ""


@with_config(_CONFIG)
@dataclass(frozen=True, slots=True)
class Scenario:
    """A group of steps that belong together."""

    key: Annotated[str, _text(300, "Unique within the report; may hold slashes.", least=1), _CLEAN]
    title: Annotated[str, _text(300, least=1), _CLEAN]
    steps: Annotated[tuple[Step, ...], Field(max_length=5000), _ORDERED]


@with_config(_CONFIG)
@dataclass(frozen=True, slots=True)
class Track:
    """A group of scenarios."""

    key: Annotated[str, _text(200, least=1), _CLEAN]
    title: Annotated[str, _text(300, least=1), _CLEAN]
    scenarios: Annotated[tuple[Scenario, ...], Field(max_length=1000), _ORDERED]


@with_config(_CONFIG)
@dataclass(frozen=True, slots=True)
class Notice:
    """Something worth saying that never changes a verdict, for example that the agent is slow."""

    code: Annotated[str, _text(60, least=1), _CLEAN]
    message: Annotated[str, _text(2000, least=1), _CLEAN]


@with_config(_CONFIG)
@dataclass(frozen=True, slots=True)
class Report:
    """What one execution of a suite version against an agent found.

    Counts and the run's status are not part of it: Assay computes them from the steps.
    """

    engine: Annotated[str, _text(60, "The engine's name.", least=1, pattern=r"^[a-z0-9][a-z0-9._-]*$"), _CLEAN]
    engine_version: Annotated[str, _text(60, _VERSION, pattern="^[ -~]*$"), _CLEAN]
    suite: Annotated[
        str, _text(100, "The suite's slug, as the engine was told.", least=1, pattern="^[-a-zA-Z0-9_]+$"), _CLEAN
    ]
    protocol: Annotated[
        str,
        _text(10, pattern="^(|mcp|a2a|adcp)$"),
        WithJsonSchema({"enum": ["", "mcp", "a2a", "adcp"]}),
        Field(description="Empty when the agent's protocol could not be found."),
    ]
    protocol_version: Annotated[str, _text(60, "As negotiated; empty when it was not."), _CLEAN]
    tracks: Annotated[tuple[Track, ...], Field(max_length=100), _ORDERED]
    duration_ms: Annotated[int, _MILLISECONDS, _WHOLE, Field(description="Of the whole execution.")]
    truncated: Annotated[
        bool, _flag("Time or size ran out before all steps ran; such a run is inconclusive."), _TRUE
    ] = False
    harness_error: Annotated[str, _text(2000, _HARNESS), _CLEAN, _NOT_EMPTY] = ""
    refused: Annotated[bool, _flag("It could not be tested as asked; harness_error says why."), _TRUE] = False
    locked: Annotated[bool, _flag("The agent wants a credential that the run did not have."), _TRUE] = False
    notices: Annotated[
        tuple[Notice, ...],
        Field(max_length=200, description="Worth saying; they never change a verdict."),
        _ORDERED,
        _unless(()),
    ] = ()
    observations: Annotated[
        dict[Annotated[str, _text(100), _CLEAN], Any],
        Field(max_length=200, description="Measurements and names, by key."),
        AfterValidator(_kept_observations),
        _unless({}),
    ] = field(default_factory=dict)
    suite_version: Annotated[str, _text(40, "As the engine was told."), _CLEAN, _NOT_EMPTY] = ""
    spec_version: Annotated[
        str, _text(60, "Of the specification that the checks were written against."), _CLEAN, _NOT_EMPTY
    ] = ""
    runtime: Annotated[
        dict[Annotated[str, _text(60), _CLEAN], Annotated[str, _text(100), _CLEAN]],
        Field(max_length=40, description="What ran: names to versions."),
        _unless({}),
    ] = field(default_factory=dict)
    # A part of a suite never moves a status (R10).
    full: Annotated[bool, _flag("All that the suite has for this agent was run."), _unless(True)] = True
    schema: Literal["assay-report/1"] = field(default="assay-report/1", kw_only=True)

    @classmethod
    def broken(
        cls,
        engine: str,
        suite: str,
        protocol: str,
        reason: str,
        *,
        truncated: bool = False,
        refused: bool = False,
        notices: tuple[Notice, ...] = (),
    ) -> Report:
        """What stands where there is no report: an inconclusive one that says why (R7)."""
        values = (engine, "", suite, protocol, "", (), 0, truncated, storable_text(reason))
        return cls(*values, refused=refused, notices=notices)

    def steps(self) -> Iterator[tuple[Track, Scenario, Step]]:
        """Every step with its track and scenario, in order."""
        for track in self.tracks:
            for scenario in track.scenarios:
                for step in scenario.steps:
                    yield track, scenario, step

    def without_access(self, name: str, status: int = 0, *, wholly: bool = True) -> Report:
        """The report of a run whose credential, redacted, the agent refused: the secret was ours to supply.

        status: 0 when not known. wholly: nothing took it, so that the run is inconclusive whatever else was found.
        """
        called, answered = f" “{name}”" if name else "", f" (HTTP {status})" if status else ""
        reason = f"The agent refused the credential{called}{answered}. Replace it, or test without one"
        return self._left_open(reason, Notice(NOT_ACCEPTED, f"{reason}."), wholly)

    def obstructed(self, words: str, *, wholly: bool = True) -> Report:
        """The report of a run in whose way something stood that is not the agent's (E1). wholly: from its beginning."""
        notice = Notice(OBSTRUCTED, f"Some checks were not made: {words}.")
        return self if self.truncated else self._left_open(words, notice, wholly)

    def _left_open(self, reason: str, notice: Notice, wholly: bool) -> Report:
        """Inconclusive instead of passing. What was answered wrongly is wrong, whatever was not answered."""
        if self.harness_error:
            return self
        noted = replace(self, notices=(*self.notices, notice))
        failed = noted.overall() in (Overall.PARTIAL, Overall.FAILING)
        return noted if failed and not wholly else replace(noted, refused=True, harness_error=reason)

    def counts(self) -> dict[str, int]:
        """How many steps each verdict has; every verdict is a key, zero included."""
        tally = Counter(step.verdict for _, _, step in self.steps())
        return {verdict.value: tally[verdict] for verdict in Verdict}

    def overall(self) -> Overall:
        """The run's status, from the steps alone: engines do not choose it.

        A truncated or broken run, and one in which no check had a verdict, is inconclusive (R7). So is
        one that found no fault at a locked door: what is behind it was not seen, and a green mark would say so.
        """
        passed, failed = (self.counts()[verdict] for verdict in (Verdict.PASSED, Verdict.FAILED))
        if self.truncated or self.harness_error or passed + failed == 0:
            return Overall.INCONCLUSIVE
        if not failed:
            return Overall.INCONCLUSIVE if self.locked else Overall.PASSING
        # Whoever cannot be reached fails, however good its certificate is.
        unreached = any(t.key == CONNECTIVITY and s.verdict is Verdict.FAILED for t, _, s in self.steps())
        # A track that kept silent is not red: the official runner of AdCP grades it so too (E11).
        tracks = [{step.verdict for scenario in track.scenarios for step in scenario.steps} for track in self.tracks]
        quiet = any(Verdict.SILENT in seen and not seen & {Verdict.PASSED, Verdict.FAILED} for seen in tracks)
        return Overall.PARTIAL if (passed or quiet) and not unreached else Overall.FAILING

    def headline(self) -> str:
        """One sentence for lists: the first failure by name, or what passed and what was left out (R6)."""
        counts = self.counts()
        if self.refused:
            return f"Not tested: {self.harness_error}"[:300]
        if self.harness_error:
            return f"Inconclusive: the test itself broke ({self.harness_error})"[:300]
        decided = counts[Verdict.PASSED] + counts[Verdict.FAILED]
        if self.truncated:
            return f"Inconclusive: time ran out after {decided} of {sum(counts.values())} checks"
        failed_steps = ((track, step) for track, _, step in self.steps() if step.verdict is Verdict.FAILED)
        # Whoever cannot be reached wants to know why; elsewhere the rule says more than what came.
        failures = [s.actual if t.key == CONNECTIVITY and s.actual else f"“{s.title}”" for t, s in failed_steps]
        if not decided:
            return "Inconclusive: nothing could be judged"
        if not failures:
            kinds = ((Verdict.SKIPPED, "skipped"), (Verdict.NOT_TESTED, "not tested"))
            left_out = [f", {counts[kind]} {words}" for kind, words in kinds if counts[kind]]
            all_of_them = "The only check" if decided == 1 else f"All {decided} checks"
            passed = f"{all_of_them} passed" + "".join(left_out)
            return f"Inconclusive: the agent wants a credential. {passed}" if self.locked else passed
        more = f" and {len(failures) - 1} more" if len(failures) > 1 else ""
        failed = "The only check" if decided == 1 else f"{len(failures)} of {decided} checks"
        return f"{failed} failed: {failures[0][:200]}{more}"[:300]

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values, which the published schema describes; evidence included."""
        data: dict[str, Any] = REPORT.dump_python(self, mode="json")
        return data

    def tracks_json(self) -> list[dict[str, Any]]:
        """The tracks as a run keeps them: everything but the evidence, which lives in its own table."""
        data: list[dict[str, Any]] = _TRACKS.dump_python(self.tracks, mode="json", exclude=_EVIDENCE)
        return data

    def row(self) -> dict[str, Any]:
        """The fields of the run's row that the report decides."""
        return {
            "engine": self.engine,
            "engine_version": self.engine_version,
            "protocol": self.protocol,
            "protocol_version": self.protocol_version,
            "spec_version": self.spec_version,
            "runtime": self.runtime,
            "duration_ms": self.duration_ms,
            "overall_status": self.overall().value,
            "headline": self.headline(),
            "first_track": self.tracks[0].title[:150] if self.tracks else "",
            "truncated": self.truncated,
            "harness_error": self.harness_error,
            "tracks_json": self.tracks_json(),
            "observations": self.observations,
            "notices": [{"code": notice.code, "message": notice.message} for notice in self.notices],
            **{f"{verdict}_count": count for verdict, count in self.counts().items()},
        }

    def evidence_rows(self) -> list[dict[str, Any]]:
        """The rows of the steps' evidence, which the steps' order numbers."""
        return [
            {"step_index": index, "request": seen.request, "response": seen.response, "pointer": seen.pointer}
            for index, (_, _, step) in enumerate(self.steps())
            if (seen := step.evidence) is not None
        ]


REPORT = TypeAdapter(Report)
_TRACKS = TypeAdapter(tuple[Track, ...])
_EVIDENCE = {"__all__": {"scenarios": {"__all__": {"steps": {"__all__": {"evidence"}}}}}}
