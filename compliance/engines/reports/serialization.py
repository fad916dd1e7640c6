"""The report as JSON: to it, from it, and the one gate through which a report becomes a run (L16).

The schema is schema/report-1.json, which every installation serves. Counts and the run's status are no part
of it: they follow from the steps, whoever wrote them.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from compliance.engines.reports.model import Evidence, Notice, Report, Scenario, Step, Track, Verdict

SCHEMA_NAME = "assay-report/1"
SCHEMA_FILE = Path(__file__).parent / "schema" / "report-1.json"
EVIDENCE_BYTES = 256 * 1024  # of one step's, as JSON: payloads are capped at 64 KiB, and escapes make them longer
OPEN_LEVELS = 245  # how deep it may be nested; our engines cut at 40, and what writes the API's answers gives up at 255
OPEN_BYTES = 32 * 1024 * 1024  # of all that is free in form: observations and evidence
STEPS = 10_000  # the record numbers them in 15 bits
SCENARIOS = 2_000  # in all tracks, empty ones included; the largest official suite has some 270
WORDS = 16 * 1024 * 1024  # characters of all sentences and keys: they are one value of the record, and one page

# What is left out of the JSON form when it says nothing.
_TEXTS = ("suite_version", "spec_version", "harness_error")
_FLAGS = ("truncated", "refused", "locked")


class BadReport(ValueError):
    """What an engine returned is no report; the message names the first bad place, and quotes nothing of it."""


@cache
def _validator() -> Any:
    # A compiled one: the same check in Python takes longer than recording the run.
    import jsonschema_rs

    return jsonschema_rs.validator_for(SCHEMA_FILE.read_text("utf-8"))


def to_json(report: Report) -> dict[str, Any]:
    """The report as JSON values. Parts of a wrong type are left as they are, for the validator to name."""
    stored: dict[str, Any] = {
        "schema": SCHEMA_NAME,
        "engine": report.engine,
        "engine_version": report.engine_version,
        "suite": report.suite,
        "protocol": report.protocol,
        "protocol_version": report.protocol_version,
        "duration_ms": report.duration_ms,
        "tracks": _each(report.tracks, _track),
    }
    for name in (*_TEXTS, *_FLAGS):
        value = getattr(report, name)
        if value != "" and value is not False:
            stored[name] = value
    if report.full is not True:
        stored["full"] = report.full
    if report.notices != ():
        stored["notices"] = _each(report.notices, _notice)
    if report.observations != {}:
        stored["observations"] = report.observations
    if report.runtime != {}:
        stored["runtime"] = report.runtime
    return stored


def _each(parts: Any, convert: Any) -> Any:
    return [convert(part) for part in parts] if isinstance(parts, tuple | list) else parts


def _notice(notice: Any) -> Any:
    return {"code": notice.code, "message": notice.message} if isinstance(notice, Notice) else notice


def _track(track: Any) -> Any:
    if not isinstance(track, Track):
        return track
    return {"key": track.key, "title": track.title, "scenarios": _each(track.scenarios, _scenario)}


def _scenario(scenario: Any) -> Any:
    if not isinstance(scenario, Scenario):
        return scenario
    return {"key": scenario.key, "title": scenario.title, "steps": _each(scenario.steps, _step)}


def _step(step: Any) -> Any:
    if not isinstance(step, Step):
        return step
    stored: dict[str, Any] = {
        "key": step.key,
        "title": step.title,
        "verdict": step.verdict.value if isinstance(step.verdict, Verdict) else step.verdict,
        "expected": step.expected,
        "actual": step.actual,
        "spec_url": step.spec_url,
        "duration_ms": step.duration_ms,
    }
    if step.requirement != "":
        stored["requirement"] = step.requirement
    evidence = step.evidence
    if isinstance(evidence, Evidence):
        stored["evidence"] = {"request": evidence.request, "response": evidence.response}
        if evidence.pointer != "":
            stored["evidence"]["pointer"] = evidence.pointer
    elif evidence is not None:
        stored["evidence"] = evidence
    return stored


def from_json(data: Any) -> Report:
    """The report that this JSON is. Raises BadReport for what the schema or the rules beyond it refuse."""
    _check(data)
    return _built(data)


def accepted(report: object, *, engine: str, suite: str) -> Report:
    """The report that an engine returned for a run of this suite, as a plain one. Raises BadReport.

    What is returned was built anew from the JSON form, so that nothing of an engine's own classes is left in it.
    """
    if not isinstance(report, Report):
        raise BadReport(f"it returned {type(report).__name__} and no report")
    try:
        data = to_json(report)
    except Exception as error:  # noqa: BLE001
        # A class of the engine's own, derived from ours, may do anything when it is read.
        raise BadReport(f"its report cannot be read ({type(error).__name__})") from None
    try:
        _check(data)
    except BadReport:
        raise
    except Exception as error:  # noqa: BLE001
        # So may one in what is free in form; it would take the other runs in flight with it.
        raise BadReport(f"its report cannot be checked ({type(error).__name__})") from None
    if data["engine"] != engine:
        raise BadReport("engine: the report is in the name of another engine")
    if data["suite"] != suite:
        raise BadReport("suite: the report is about another suite")
    return _built(data)


def _check(data: Any) -> None:
    try:
        error = None if _validator().is_valid(data) else next(_validator().iter_errors(data))
    except (ValueError, RecursionError):
        raise BadReport("it holds what is not JSON, or is nested too deeply") from None
    if error is not None:
        # Not the validator's own words: they quote the value, which may hold what an agent sent.
        raise BadReport(f"{_place(error.instance_path)}: breaks the schema's “{error.schema_path[-1]}”")
    _check_keys(data)
    _check_open(data)


def _place(path: list[str | int]) -> str:
    return "/".join(str(part)[:60] for part in path) or "the report"


def _check_keys(data: dict[str, Any]) -> None:
    scenarios: set[str] = set()
    count = words = 0
    for t, track in enumerate(data["tracks"]):
        for s, scenario in enumerate(track["scenarios"]):
            place = f"tracks/{t}/scenarios/{s}"
            if scenario["key"] in scenarios:
                raise BadReport(f"{place}/key: two scenarios have the same key")
            scenarios.add(scenario["key"])
            if len(scenarios) > SCENARIOS:
                raise BadReport(f"{place}: more than {SCENARIOS:,} scenarios in all")
            if len({step["key"] for step in scenario["steps"]}) < len(scenario["steps"]):
                raise BadReport(f"{place}/steps: two steps have the same key")
            count += len(scenario["steps"])
            if count > STEPS:
                raise BadReport(f"{place}/steps: more than {STEPS:,} steps in all")
            words += len(scenario["key"]) + len(scenario["title"])
            words += sum(len(text) for step in scenario["steps"] for text in step.values() if isinstance(text, str))
            if words > WORDS:
                raise BadReport(f"{place}/steps: more than {WORDS:,} characters in all")


def _check_open(data: dict[str, Any]) -> None:
    """What the schema leaves open must be JSON all the same, and of a bearable size."""
    size = _size(data.get("observations"), "observations", OPEN_BYTES)
    for t, track in enumerate(data["tracks"]):
        for s, scenario in enumerate(track["scenarios"]):
            for p, step in enumerate(scenario["steps"]):
                if step.get("evidence") is None:
                    continue
                place = f"tracks/{t}/scenarios/{s}/steps/{p}/evidence"
                size += _size(step["evidence"], place, EVIDENCE_BYTES)
                if size > OPEN_BYTES:
                    raise BadReport(f"{place}: more than {OPEN_BYTES:,} bytes of evidence in all")


def _size(value: Any, place: str, at_most: int) -> int:
    if value is None:
        return 0
    try:
        text = json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        raise BadReport(f"{place}: is not JSON") from None
    if len(text) > at_most:
        raise BadReport(f"{place}: more than {at_most:,} bytes")
    # Most have too few brackets to be deep; the rest are walked.
    if text.count("[") + text.count("{") > OPEN_LEVELS and _is_deep(value):
        raise BadReport(f"{place}: more than {OPEN_LEVELS} levels")
    return len(text)


def _is_deep(value: Any) -> bool:
    layer = [value]
    for _ in range(OPEN_LEVELS):
        layer = [
            inner
            for outer in layer
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list | tuple)
        ]
        if not layer:
            return False
    return True


def _built(data: dict[str, Any]) -> Report:
    return Report(
        engine=data["engine"],
        engine_version=data["engine_version"],
        suite=data["suite"],
        protocol=data["protocol"],
        protocol_version=data["protocol_version"],
        tracks=tuple(
            Track(
                track["key"],
                track["title"],
                tuple(
                    Scenario(scenario["key"], scenario["title"], tuple(map(_built_step, scenario["steps"])))
                    for scenario in track["scenarios"]
                ),
            )
            for track in data["tracks"]
        ),
        duration_ms=int(data["duration_ms"]),
        notices=tuple(Notice(notice["code"], notice["message"]) for notice in data.get("notices", ())),
        observations=dict(data.get("observations", {})),
        runtime=dict(data.get("runtime", {})),
        full=data.get("full", True),
        **{name: data.get(name, "") for name in _TEXTS},
        **{name: data.get(name, False) for name in _FLAGS},
    )


_VERDICTS = {verdict.value: verdict for verdict in Verdict}


def _built_step(data: dict[str, Any]) -> Step:
    evidence = data.get("evidence")
    return Step(
        key=data["key"],
        title=data["title"],
        verdict=_VERDICTS[data["verdict"]],
        expected=data.get("expected", ""),
        actual=data.get("actual", ""),
        spec_url=data.get("spec_url", ""),
        duration_ms=int(data.get("duration_ms", 0)),
        requirement=data.get("requirement", ""),
        evidence=evidence and Evidence(evidence["request"], evidence["response"], evidence.get("pointer", "")),
    )
