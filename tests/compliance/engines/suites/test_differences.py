"""The page of verdicts lists what differs from the official runners: as the code does, and no pass made a failure."""

from __future__ import annotations

import json
import re
from itertools import product
from typing import Any

import pytest

from compliance.engines import Verdict
from compliance.engines.http.redaction import Redactor
from compliance.engines.suites.adcp.outcome import RunnerOutput
from compliance.engines.suites.adcp.results import Results
from compliance.engines.suites.mcp_conformance.discover import Found
from compliance.engines.suites.mcp_conformance.rules import RULES
from compliance.engines.suites.mcp_conformance.runner import Outcome
from compliance.engines.suites.mcp_conformance.scenarios import SCENARIOS
from compliance.engines.suites.mcp_conformance.verdicts import ScenarioWriter
from tests.docs.pages import PROJECT


def listed() -> list[tuple[str, str, str, str]]:
    """Of each difference on the page: its name, the suite, the official verdict and ours."""
    page = (PROJECT / "docs" / "verdicts.md").read_text()
    section = page.partition("## Where Assay differs from the official runners")[2].partition("\n## ")[0]
    return re.findall(r"^\| `(\w+)` \| ([^|]+) \| ([^|]+) \| ([^|]+) \|", section, re.MULTILINE)


def test_no_difference_makes_a_failure_of_a_pass() -> None:  # E11
    assert len(listed()) > 20
    assert len({name for name, *_ in listed()}) == len(listed())
    assert not [
        name for name, _, official, ours in listed() if official == "passed" and ours in ("failed", "inconclusive")
    ]


def test_each_rule_that_takes_an_mcp_pass_away_is_listed() -> None:  # E11
    taken = [name for name, suite, official, ours in listed() if (suite, official, ours) == ("MCP", "passed", "silent")]
    assert taken == [rule.__name__ for rule in RULES]
    assert not [name for name, suite, official, _ in listed() if official == "passed" and name not in taken]


@pytest.mark.parametrize("official", SCENARIOS, ids=lambda official: official.key)
def test_an_mcp_check_fails_exactly_when_it_failed_officially(official: Any) -> None:  # E11
    for status in ("SUCCESS", "FAILURE", "WARNING", "INFO", "SKIPPED"):
        writer = ScenarioWriter(Found(), Redactor([], 1000), all_evidence=False)
        outcome = Outcome(({"id": "check", "status": status},), (), 1)
        verdict = writer.scenario(official, outcome).steps[0].verdict
        assert (verdict is Verdict.FAILED) is (status == "FAILURE")
        assert verdict is not Verdict.PASSED or status == "SUCCESS"


def adcp_verdict(step: dict[str, Any], *, locked: bool) -> Verdict:
    output = RunnerOutput(str, None)
    plain = {"id": "step", "title": "Step", "ms": 1, "checks": [], "hints": [], "wire": None, **step}
    phases = [{"id": "phase", "title": "Phase", "steps": [plain]}]
    said = {"at": "storyboard", "id": "story", "title": "Story", "track": "core", "phases": phases, "assertions": []}
    output.line(json.dumps(said).encode())
    (track,) = Results(output, Redactor([], 1000), locked=locked, all_evidence=False).tracks()
    return track.scenarios[0].steps[0].verdict


def test_an_adcp_step_differs_only_as_listed() -> None:  # E11
    differs = set()
    for skipped, passed, spent, counts, locked, task in product(
        *([False, True],) * 5, ["get_products", "assert_contribution"]
    ):
        step = {"skipped": skipped, "passed": passed, "spent": spent, "counts": counts, "task": task}
        verdict = adcp_verdict(step, locked=locked)
        if skipped:
            assert verdict is Verdict.SKIPPED
        elif passed:
            assert verdict is Verdict.PASSED
        elif verdict is not Verdict.FAILED:
            differs.add(("failed", verdict.value.replace("_", " ")))

    assert differs == {(official, ours) for _, suite, official, ours in listed() if suite == "AdCP step"}
    for reason in ("not_applicable", "missing_tool", "no_phases", "capability_unsupported", "prerequisite_failed"):
        step = {"skipped": True, "passed": True, "spent": False, "counts": True, "task": "", "reason": reason}
        assert adcp_verdict(step, locked=False) in (Verdict.SKIPPED, Verdict.NOT_APPLICABLE)
