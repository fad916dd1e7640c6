"""What is imported is declared, what is declared is locked, and the runner's package has the server's versions."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.processes import ROOT

OURS = {"compliance", "dashboard", "tests", "benchmarks"}
# Namespaces that several distributions share: which of them a module is from.
SHARED = {"google.api": "googleapis-common-protos", "google.protobuf": "protobuf"}
# Files for machines and suites that have more than is declared here.
OPTIONAL = {
    "tests/agents/seller.py": {"adcp"},  # runs in an environment of its own
    "scripts/unpack_browser.py": {"brotli"},
}
LOCKS = ("requirements", "requirements-dev", *(f"tests/agents/{name}" for name in ("requirements", "older", "newer")))


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name.partition("[")[0]).lower()


def pins(file: str) -> dict[str, str]:
    """Each distribution of a requirements file with its version."""
    lines = re.findall(r"^([\w.-]+(?:\[[\w,]+\])?)==([^\s;]+)", (ROOT / file).read_text(), flags=re.MULTILINE)
    return {normalized(name): version for name, version in lines}


def imported(path: Path) -> set[str]:
    """The modules of others that a file imports, by their full names."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module or "")
    return {name for name in names if name.partition(".")[0] not in {*sys.stdlib_module_names, *OURS}}


@cache
def installed() -> dict[str, list[str]]:
    return dict(packages_distributions())


def distributions_of(module: str) -> set[str]:
    for prefix, name in SHARED.items():
        if module == prefix or module.startswith(f"{prefix}."):
            return {name}
    return {normalized(name) for name in installed().get(module.partition(".")[0], [module])}


def undeclared(folders: list[str], declared: set[str]) -> list[str]:
    found = []
    for path in sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        file = str(path.relative_to(ROOT))
        for module in sorted(imported(path)):
            if module.partition(".")[0] not in OPTIONAL.get(file, ()) and not distributions_of(module) & declared:
                found.append(f"{file} imports {module}")
    return found


def test_what_the_product_imports_is_declared() -> None:
    assert undeclared(["compliance", "dashboard"], set(pins("requirements.in"))) == []


def test_what_tests_scripts_and_benchmarks_import_is_declared() -> None:
    declared = {*pins("requirements.in"), *pins("requirements-dev.in")}
    assert undeclared(["tests", "benchmarks", "scripts"], declared) == []


def test_what_the_runners_package_imports_is_declared_with_the_servers_versions() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    dependencies = dict(
        entry.split("==") for entry in [*project["dependencies"], *project["optional-dependencies"]["node"]]
    )
    of_server = pins("requirements.in")
    assert dependencies == {name: of_server.get(name) for name in dependencies}
    assert undeclared(["compliance/engines", "compliance/runners/program"], set(dependencies)) == []


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_has_each_version_that_is_asked_for_and_nothing_of_a_machine(name: str) -> None:
    asked, lock = pins(f"{name}.in"), (ROOT / f"{name}.txt").read_text()
    locked = pins(f"{name}.txt")
    assert {package: locked.get(package) for package in asked} == asked
    assert not re.search(r"://|^--|(?<![\w.])/\w", lock, flags=re.MULTILINE)


def test_the_lock_for_development_has_the_versions_of_the_product() -> None:
    product, development = pins("requirements.txt"), pins("requirements-dev.txt")
    assert {name: development.get(name) for name in product} == product


@pytest.mark.parametrize("file", ["requirements.in", "requirements-dev.in"])
def test_every_version_has_its_reason_beside_it(file: str) -> None:
    lines = [line for line in (ROOT / file).read_text().splitlines() if line and not line.startswith(("#", "-r"))]
    assert [line for line in lines if not re.fullmatch(r"[\w.-]+(\[\w+\])?==\S+ +# \S.*", line)] == []
