"""docs/invariants.md names every rule that is cited, and every rule that is in force has a test that cites it."""

from __future__ import annotations

import re
from pathlib import Path

from tests.docs.pages import PROJECT

PAGE = (PROJECT / "docs" / "invariants.md").read_text()
RULES = re.findall(r"^- \*\*([A-Z]\d+)\*\*( \(due\))? .+(?:\n  Tests: (.+))?$", PAGE, flags=re.MULTILINE)


def cited_in(path: Path) -> set[str]:
    """The rules that comments and docstrings of a file cite: `# L9`, `(R1)`, `V1, R7`."""
    found: set[str] = set()
    for line in path.read_text().splitlines():
        comment = line.rpartition("#")[2] if "#" in line else ""
        found |= set(re.findall(r"\b[RIAPGLVNEQW]\d{1,2}\b", comment))
        found |= set(re.findall(r"\(([RIAPGLVNEQW]\d{1,2})[,)]", line))
    return found


def sources(folder: str) -> list[Path]:
    return sorted(path for path in (PROJECT / folder).rglob("*.py") if path != Path(__file__))  # this one has examples


def test_the_rules_of_a_group_are_numbered_without_a_gap() -> None:
    groups: dict[str, list[int]] = {}
    for name, _, _ in RULES:
        groups.setdefault(name[0], []).append(int(name[1:]))
    assert sorted(groups) == sorted("RIGLVEQAPNW")
    for letter, numbers in groups.items():
        assert numbers == list(range(1, len(numbers) + 1)), letter


def test_every_rule_in_force_has_a_test() -> None:
    cited = set().union(*(cited_in(path) for path in sources("tests")))
    assert [name for name, due, _ in RULES if not due and name not in cited] == []
    assert [name for name, due, tests in RULES if not due and not tests] == []


def test_the_tests_named_for_a_rule_cite_it() -> None:
    wrong = []
    for name, _, tests in RULES:
        for file in re.findall(r"`([^`]+)`", tests):
            path = PROJECT / file
            if not path.is_file() or name not in cited_in(path):
                wrong.append(f"{name}: {file}")
    assert wrong == []


def test_no_rule_is_cited_that_the_page_lacks() -> None:
    known = {name for name, _, _ in RULES}
    unknown = {
        f"{path.relative_to(PROJECT)}: {name}"
        for folder in ("compliance", "dashboard", "tests", "benchmarks")
        for path in sources(folder)
        for name in cited_in(path) - known
    }
    assert unknown == set()
