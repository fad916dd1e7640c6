"""The page about the A2A suites names every demand, and every check, once."""

from __future__ import annotations

import re

from compliance.engines.catalog import RuledStepSpec
from compliance.engines.suites.a2a.catalog import MUST
from tests.docs.pages import PROJECT

PAGE = (PROJECT / "docs" / "engines-a2a.md").read_text()
ROWS = [
    (requirement, last)
    for requirement, last in re.findall(r"^\| (\S+(?: §\S+)?) \| [\d.]+ \| .*? \| (.*) \|$", PAGE, flags=re.MULTILINE)
]


def steps_of(last: str) -> set[str]:
    named = set(re.findall(r"`([^`]+)`", last)) if not last.startswith("–") else set()
    stars = {name for name in named if name.startswith("*/")}
    return (named - stars) | {name.replace("*", binding, 1) for name in stars for binding in ("jsonrpc", "http_json")}


def test_every_check_stands_beside_the_demand_that_it_is_for() -> None:
    shown = {requirement: steps_of(last) for requirement, last in ROWS}
    for track in MUST.tracks:
        for scenario in track.scenarios:
            for step in scenario.steps:
                if isinstance(step, RuledStepSpec):
                    assert f"{scenario.key}/{step.key}" in shown[step.requirement]


def test_every_check_that_is_named_exists() -> None:
    known = {f"{s.key}/{step.key}" for track in MUST.tracks for s in track.scenarios for step in s.steps}
    assert set().union(*(steps_of(last) for _, last in ROWS)) - known == set()


def test_the_numbers_are_those_of_the_table() -> None:
    new = [last for requirement, last in ROWS if not requirement.startswith("A2A-0.3")]
    left = sum(last.startswith("–") for last in new)
    assert f"{len(new)} demands of version 1.0: {len(new) - left} checked, {left} not" in PAGE
    assert f"and {len(ROWS) - len(new)} of version 0.3" in PAGE
    assert len({requirement for requirement, _ in ROWS}) == len(ROWS)
