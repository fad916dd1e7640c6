"""The report as JSON: there and back, and what is no report."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compliance.engines import Evidence, Notice, Report, Scenario, Step, Track, Verdict
from compliance.engines.reports.model import EVIDENCE_BYTES
from compliance.engines.reports.validation import (
    SCENARIOS,
    SCHEMA_FILE,
    BadReport,
    accepted,
    from_json,
    schema_text,
)
from tests.conftest import make_report

SCHEMA = json.loads(SCHEMA_FILE.read_text())

letters = st.characters(codec="utf-8", exclude_characters="\x00")
words = st.text(letters, max_size=30)
some_words = st.text(letters, min_size=1, max_size=30)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(allow_nan=False, allow_infinity=False) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)
payloads = st.none() | words | st.dictionaries(words, values, max_size=3)
milliseconds = st.integers(0, 2**31 - 1)
evidence = st.builds(Evidence, payloads, payloads, st.sampled_from(["", "/response/body/0"]))
steps = st.builds(
    Step,
    key=some_words,
    title=some_words,
    verdict=st.sampled_from(Verdict),
    expected=words,
    actual=words,
    spec_url=st.sampled_from(["", "https://spec.example/a#b"]),
    duration_ms=milliseconds,
    evidence=st.none() | evidence,
    requirement=words,
)
scenarios = st.builds(
    Scenario,
    key=some_words,
    title=some_words,
    steps=st.lists(steps, max_size=3, unique_by=lambda step: step.key).map(tuple),
)
reports = st.builds(
    Report,
    engine=st.just("baseline"),
    engine_version=st.sampled_from(["", "1.0+6.11.0"]),
    suite=st.just("baseline"),
    protocol=st.sampled_from(["", "mcp", "a2a", "adcp"]),
    protocol_version=words,
    tracks=st.lists(scenarios, max_size=4, unique_by=lambda scenario: scenario.key).map(
        lambda found: tuple(Track(f"t{n}", "Track", (scenario,)) for n, scenario in enumerate(found))
    ),
    duration_ms=milliseconds,
    truncated=st.booleans(),
    harness_error=words,
    refused=st.booleans(),
    locked=st.booleans(),
    notices=st.lists(st.builds(Notice, some_words, some_words), max_size=2).map(tuple),
    observations=st.dictionaries(words, values, max_size=3),
    suite_version=words,
    spec_version=words,
    runtime=st.dictionaries(words, words, max_size=3),
    full=st.booleans(),
)


@settings(max_examples=150, deadline=None)
@given(reports)
def test_a_report_comes_back_from_json_as_it_was(report: Report) -> None:
    written = json.loads(json.dumps(report.to_json()))
    assert from_json(written) == report
    assert accepted(report, engine="baseline", suite="baseline") == report
    assert jsonschema.Draft202012Validator(SCHEMA).is_valid(written)


def test_the_schema_is_one_and_closed() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    closed = [SCHEMA, *SCHEMA["$defs"].values()]
    assert all(part["additionalProperties"] is False for part in closed)
    assert set(SCHEMA["$defs"]["Step"]["properties"]["verdict"]["enum"]) == {verdict.value for verdict in Verdict}


def test_the_schema_file_is_what_the_classes_say() -> None:
    assert SCHEMA_FILE.read_text("utf-8") == schema_text(), "run python -m compliance.engines.reports.validation"


def good() -> dict[str, Any]:
    steps = [Step(f"s{n}", "A rule holds", Verdict.PASSED, evidence=Evidence({"a": 1}, None)) for n in range(3)]
    tracks = (Track("t", "T", (Scenario("a/b/c", "S", tuple(steps)), Scenario("a/b", "S", ()))),)
    return Report("baseline", "1", "baseline", "mcp", "", tracks, 5, notices=(Notice("n", "m"),)).to_json()


def test_what_no_database_can_keep_is_replaced_by_marks_wherever_it_stands() -> None:
    data = good()
    data["observations"] = {"n\x00": [float("nan"), {"deep\ud800": "\x00"}]}
    data["runtime"] = {"py\x00": "3\ud800"}
    data["notices"][0]["message"] = "\ud800"
    step = data["tracks"][0]["scenarios"][0]["steps"][0]
    step |= {"actual": "\x00", "evidence": {"request": {"\x00": float("inf")}, "response": ["\ud800"]}}
    report = from_json(data)
    assert report.observations == {"n\u2400": ["nan", {"deep?": "\u2400"}]}
    assert (report.runtime, report.notices) == ({"py\u2400": "3?"}, (Notice("n", "?"),))
    found = report.tracks[0].scenarios[0].steps[0]
    assert (found.actual, found.evidence) == ("\u2400", Evidence({"\u2400": "inf"}, ["?"]))


def test_a_scenarios_key_keeps_its_slashes() -> None:  # R12
    assert [scenario.key for scenario in from_json(good()).tracks[0].scenarios] == ["a/b/c", "a/b"]


def test_counts_and_status_in_the_json_are_refused_and_computed_from_the_steps() -> None:
    for claim in ({"overall": "passing"}, {"counts": {"passed": 99}}, {"headline": "All is well"}):
        with pytest.raises(BadReport):
            from_json({**good(), **claim})
    assert from_json(good()).counts()["passed"] == 3


DEEP: Any = []
for _ in range(100_000):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    ("path", "value", "place"),
    [
        ("schema", "assay-report/2", "schema"),
        ("tracks/0/scenarios/0/steps/1/verdict", "great", "tracks/0/scenarios/0/steps/1/verdict"),
        ("tracks/0/scenarios/0/steps/1/extra", 1, "tracks/0/scenarios/0/steps/1: "),
        ("tracks/0/scenarios/0/steps/1/title", "", "tracks/0/scenarios/0/steps/1/title"),
        ("tracks/0/scenarios/0/steps/1/spec_url", "javascript:alert(1)", "spec_url"),
        ("tracks/0/scenarios/0/steps/1/key", "s0", "tracks/0/scenarios/0/steps: two steps"),
        ("tracks/0/scenarios/1/key", "a/b/c", "tracks/0/scenarios/1/key: two scenarios"),
        ("tracks/0/scenarios/0/steps/2/evidence", "text", "tracks/0/scenarios/0/steps/2/evidence"),
        ("tracks/0/scenarios/0/steps/2/evidence/request", "x" * EVIDENCE_BYTES, "steps/2/evidence: more than 262,144"),
        ("tracks/0/scenarios/0/steps/2/evidence/request", {"a": b"bytes"}, "steps/2/evidence: is not JSON"),
        ("tracks/0/scenarios/0/steps/2/evidence/request", DEEP, "not JSON"),
        ("observations", {"a": {1, 2}}, "observations: is not JSON"),
        ("observations", [], "observations"),
        ("engine_version", "1\x00", "engine_version"),
        ("protocol", "gopher", "protocol"),
        ("duration_ms", -1, "duration_ms"),
        ("duration_ms", True, "duration_ms"),
        ("runtime", {"python": 3}, "runtime: breaks the schema"),
        ("tracks", {}, "tracks"),
        ("tracks/0", None, "tracks/0"),
        ("notices/0/message", 7, "notices/0/message"),
    ],
)
def test_what_breaks_the_contract_is_refused_with_its_place(path: str, value: Any, place: str) -> None:  # L16
    data = good()
    *parents, last = path.split("/")
    part: Any = data
    for name in parents:
        part = part[int(name)] if isinstance(part, list) else part[name]
    part[int(last) if isinstance(part, list) else last] = value
    with pytest.raises(BadReport, match=place.replace("(", "\\(")):
        from_json(data)


def test_scenarios_are_counted_over_all_tracks_and_empty_ones_too() -> None:  # L16
    def tracks(total: int) -> tuple[Track, ...]:
        each = [Scenario(f"s{n}", "S", ()) for n in range(total)]
        return tuple(Track(f"t{n}", "T", tuple(each[n : n + 1000])) for n in range(0, total, 1000))

    report = from_json(good())
    from_json(replace(report, tracks=tracks(SCENARIOS)).to_json())
    for total in (SCENARIOS + 1, 100_000):
        with pytest.raises(BadReport, match=r"tracks/2/scenarios/0: more than 2,000 scenarios in all"):
            from_json(replace(report, tracks=tracks(total)).to_json())
    with pytest.raises(BadReport, match="tracks: breaks"):
        from_json(replace(report, tracks=tuple(Track(f"t{n}", "T", ()) for n in range(101))).to_json())


@pytest.mark.parametrize("garbage", [None, 5, "report", [], {}, {"schema": "assay-report/1"}])
def test_garbage_is_no_report(garbage: Any) -> None:
    with pytest.raises(BadReport):
        from_json(garbage)
    with pytest.raises(BadReport):
        accepted(garbage, engine="baseline", suite="baseline")


def test_what_is_refused_is_not_quoted() -> None:  # V1
    data = good()
    data["tracks"][0]["scenarios"][0]["steps"][0]["verdict"] = "sk-secret-4711"
    data["notices"][0]["sk-secret-4711"] = "sk-secret-4711"
    with pytest.raises(BadReport) as refused:
        from_json(data)
    assert "4711" not in str(refused.value)


class Flattering(Report):
    """What an engine could hand over to be called better than it is."""

    def overall(self) -> Any:
        return "passing"

    def counts(self) -> dict[str, int]:
        return {"passed": 99}


class Unreadable(Report):
    def __getattribute__(self, name: str) -> Any:
        if name == "tracks":
            raise LookupError("not today")
        return super().__getattribute__(name)


def test_nothing_of_an_engines_own_class_is_left_in_the_report() -> None:
    failing = (Track("t", "T", (Scenario("s", "S", (Step("k", "Rule", Verdict.FAILED),)),)),)
    report = accepted(
        Flattering("baseline", "1", "baseline", "mcp", "", failing, 5), engine="baseline", suite="baseline"
    )
    assert type(report) is Report
    assert report.overall() == "failing"
    with pytest.raises(BadReport, match="cannot be read"):
        accepted(Unreadable("baseline", "1", "baseline", "mcp", "", (), 5), engine="baseline", suite="baseline")


def test_a_report_in_anothers_name_or_about_another_suite_is_refused() -> None:
    report = from_json(good())
    with pytest.raises(BadReport, match="another engine"):
        accepted(replace(report, engine="other"), engine="baseline", suite="baseline")
    with pytest.raises(BadReport, match="another suite"):
        accepted(replace(report, suite="other"), engine="baseline", suite="baseline")


@pytest.mark.parametrize(
    "parts", [{"tracks": None}, {"tracks": (1,)}, {"tracks": "tracks"}, {"duration_ms": 1.5}, {"observations": None}]
)
def test_a_report_whose_parts_are_of_other_types_is_refused(parts: dict[str, Any]) -> None:
    with pytest.raises(BadReport):
        accepted(replace(from_json(good()), **parts), engine="baseline", suite="baseline")


def test_to_json_says_nothing_of_what_is_not_there() -> None:
    assert set(from_json(good()).to_json()) & {"truncated", "harness_error", "runtime", "full"} == set()


@pytest.mark.parametrize(
    ("verdicts", "overall"),
    [
        (("failed", "failed"), "failing"),
        (("failed", "skipped", "not_tested", "not_applicable"), "failing"),
        (("failed", "silent"), "failing"),  # in one track
        (("failed", "passed"), "partial"),
        (("silent", "silent"), "inconclusive"),
        (("passed", "silent"), "passing"),
    ],
)
def test_the_status_follows_from_the_verdicts(verdicts: tuple[str, ...], overall: str) -> None:  # R6, E11
    assert make_report(*verdicts).overall() == overall


@pytest.mark.parametrize("wholly", [True, False])
@pytest.mark.parametrize(
    ("verdicts", "overall"),
    [
        (("passed",), "inconclusive"),
        (("not_tested",), "inconclusive"),
        (("passed", "failed"), "partial"),
        (("failed",), "failing"),
    ],
)
def test_what_stood_in_the_way_hides_no_failure_unless_it_stood_there_from_the_beginning(  # E1, E4
    verdicts: tuple[str, ...], overall: str, wholly: bool
) -> None:
    report = make_report(*verdicts)
    for found in (report.obstructed("a wall", wholly=wholly), report.without_access("Key", 403, wholly=wholly)):
        assert found.overall() == ("inconclusive" if wholly else overall)
        assert len(found.notices) == 1


def test_a_silent_track_beside_a_failed_one_is_partial() -> None:  # E11
    """As the official runner of AdCP grades it."""
    [failed], [silent] = make_report("failed").tracks, make_report("silent").tracks
    report = replace(make_report("failed"), tracks=(failed, replace(silent, key="other")))
    assert report.overall() == "partial"
