"""What the pages refer to exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.docs.pages import PROJECT, anchors, code, pages, prose

README = PROJECT / "README.md"


def name_of(path: Path) -> str:
    return str(path.relative_to(PROJECT))


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    dead = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(link)
    assert dead == []


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_every_decision_is_linked_to_by_its_number(page: Path) -> None:
    links = re.findall(r"\[ADR (\d+)\]\(([^)\s]+)\)", prose(page))
    assert [(number, file) for number, file in links if not Path(file).name.startswith(f"{int(number):04}-")] == []


def test_the_list_of_decisions_has_each_under_its_number() -> None:
    listed = re.findall(r"^(\d+)\. \[.+\]\((.+)\)$", (PROJECT / "docs" / "adr" / "README.md").read_text(), re.MULTILINE)
    files = sorted(path.name for path in (PROJECT / "docs" / "adr").glob("[0-9]*.md"))
    assert [file for _, file in listed] == files
    assert [int(number) for number, _ in listed] == [int(file[:4]) for file in files]


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_every_test_that_is_named_as_proof_exists(page: Path) -> None:
    missing = []
    for file, test in re.findall(r"(tests/[\w/]+\.py)(?:::(\w+))?", page.read_text()):
        path = PROJECT / file
        if not path.exists() or (test and not re.search(rf"def {test}\(", path.read_text())):
            missing.append(f"{file}::{test}")
    assert missing == []


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_every_file_of_ours_that_is_named_exists(page: Path) -> None:
    named = re.findall(
        r"`((?:compliance|dashboard|scripts|templates|tests|benchmarks|docs)/[\w./-]*\w)/?`", prose(page)
    )
    assert [path for path in named if not (PROJECT / path).exists()] == []


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_every_function_that_is_named_exists(page: Path) -> None:
    missing = []
    for file, name in re.findall(r"`((?:compliance|dashboard|tests|benchmarks)/[\w/]+\.py):(\w+)`", prose(page)):
        path = PROJECT / file
        if not path.exists() or name not in defined_in(path):
            missing.append(f"{file}:{name}")
    assert missing == []


def defined_in(path: Path) -> set[str]:
    """The functions and classes at the top of a module."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return {node.name for node in ast.parse(path.read_text()).body if isinstance(node, kinds)}


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_every_make_target_that_is_named_is_in_the_makefile(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (PROJECT / "Makefile").read_text(), flags=re.MULTILINE))
    commands = re.findall(r"^ *(?:[A-Z_]+=\S+ )*make ([a-z]+)\b", code(page), flags=re.MULTILINE)
    assert set(commands) - targets == set()


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_every_management_command_that_is_named_exists(page: Path) -> None:
    from django.core.management import get_commands

    assert set(re.findall(r"manage\.py ([a-z_]+)", code(page))) - set(get_commands()) == set()


def test_the_readme_begins_with_the_picture_and_the_two_commands() -> None:
    first_screen = "\n".join(README.read_text().splitlines()[:25])
    assert "docs/screenshot.png" in first_screen
    assert "make run" in first_screen
    assert "make test" in first_screen


@pytest.mark.parametrize("page", ["engines.md", "engines-official.md", "engines-a2a.md"])
def test_the_pages_on_engines_are_found_from_the_readme_and_the_architecture(page: str) -> None:
    assert f"](docs/{page})" in README.read_text()
    assert f"]({page})" in (PROJECT / "docs" / "architecture.md").read_text()


def test_the_readme_tells_the_exit_codes_that_the_command_has() -> None:
    from compliance.management.commands import owner_test

    rows = dict(re.findall(r"^\| (\d) \| (.+) \|$", README.read_text(), flags=re.MULTILINE))
    words = {
        owner_test.PASSING: "passing",
        owner_test.FAILING: "failing or partial",
        owner_test.INCONCLUSIVE: "inconclusive",
        owner_test.USAGE: "not allowed",
    }
    assert {int(number) for number in rows} == set(words)
    for exit_code, word in words.items():
        assert word in rows[str(exit_code)]


def test_the_picture_is_small_enough_for_a_first_screen() -> None:
    assert (PROJECT / "docs" / "screenshot.png").stat().st_size < 200_000
