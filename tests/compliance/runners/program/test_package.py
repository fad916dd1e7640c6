"""The package that organizations install: the engines and the runner with what they need, and no Django."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

import pytest

from compliance import __version__
from compliance.engines.process.node_runtime import RuntimeMissing, node, package
from compliance.runners.program.cli import _CODES
from compliance.runners.program.install import install_engines, prepare_engines
from compliance.runners.program.problems import Exit, Problem
from tests.compliance.runners.program.assay import Assay
from tests.processes import ROOT, Process

pytestmark = pytest.mark.processes

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def closure() -> Iterator[str]:
    """The names of every distribution that the package's dependencies bring, as their metadata say."""
    from packaging.requirements import Requirement

    waiting, met = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["node"]], set()
    while waiting:
        requirement = Requirement(waiting.pop())
        key = (requirement.name.lower().replace("_", "-"), frozenset(requirement.extras))
        if key in met or not all(_applies(requirement, extra) for extra in [""]):
            continue
        met.add(key)
        yield requirement.name
        for text in distribution(requirement.name).requires or ():
            needed = Requirement(text)
            if any(_applies(needed, extra) for extra in ["", *requirement.extras]):
                waiting.append(text)


def _applies(requirement: object, extra: str) -> bool:
    marker = getattr(requirement, "marker", None)
    return marker is None or marker.evaluate({"extra": extra})


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the built package and its declared dependencies alone; the Python in it.

    The dependencies are links to what is installed here, so that nothing is fetched; and the package is copied from
    what setuptools builds of it, because pip builds nothing without a network.
    """
    folder = tmp_path_factory.mktemp("package")
    source = folder / "source"
    for name in ("compliance", "dashboard"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", source)
    build = [sys.executable, "-W", "ignore", "-c", "from setuptools import setup; setup()", "-q", "build"]
    subprocess.run([*build, "--build-lib", str(folder / "built")], cwd=source, check=True, timeout=60)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True, timeout=60)
    site = next((folder / "venv").glob("lib/python*/site-packages"))
    shutil.copytree(folder / "built" / "compliance", site / "compliance")
    for name in closure():
        files = distribution(name).files or ()
        for top in {file.parts[0] for file in files} - {"..", "__pycache__"}:
            if not (site / top).exists():
                (site / top).symlink_to(distribution(name).locate_file(top))
    return folder / "venv" / "bin" / "python"


def run(python: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "DJANGO"))}
    return subprocess.run(
        [python, "-I", "-W", "error", *arguments], text=True, capture_output=True, env=environment, timeout=60
    )


def test_the_installed_program_has_its_engines_and_no_django(installed: Path) -> None:
    done = run(installed, "-c", "import django")
    assert "ModuleNotFoundError" in done.stderr
    module, _, function = PROJECT["scripts"]["assay-runner"].partition(":")
    script = f"import sys; from {module} import {function}; sys.exit({function}(['engines']))"
    done = run(installed, "-c", script)
    assert done.returncode == 0, done.stderr
    assert "ok       baseline" in done.stdout
    assert "ok       a2a" in done.stdout
    assert "missing  adcp: The npm package @adcp/sdk is not installed" in done.stdout
    assert "a private runner with `assay-runner install-engines`" in done.stdout
    assert run(installed, "-m", "compliance.runners.program", "--version").stdout == f"assay-runner {__version__}\n"


def test_the_package_holds_the_data_of_the_engines_and_nothing_of_the_server(installed: Path) -> None:
    [site] = installed.parent.parent.glob("lib/python*/site-packages")
    package = site / "compliance"
    for name in ("engines", "runners/program"):
        here = {path.relative_to(ROOT / "compliance") for path in (ROOT / "compliance" / name).rglob("*.*")}
        wanted = {path for path in here if path.suffix in (".py", ".json", ".cjs", ".mjs")}
        assert {path for path in wanted if not (package / path).is_file()} == set()
    for folder, parts in ((package, {"engines", "runners"}), (package / "runners", {"program"})):
        assert {path.name for path in folder.iterdir()} - {"__pycache__"} == {"__init__.py", *parts}


def test_the_installed_program_tests_an_agent(
    installed: Path, assay: Assay, agent: str, tmp_path: Path, token_file: Path
) -> None:
    work = assay.add(agent)
    process = Process(
        *(str(installed), "-I", "-m", "compliance.runners.program", "--once", "--url", assay.url),
        *("--token-file", str(token_file), "--state-dir", str(tmp_path / "state"), "--allow", "127.0.0.1"),
        log=tmp_path / "log",
    )
    assert process.child.wait(60) == 0, process.output()
    assert work.lease["overall"] == "passing"


def test_the_official_runners_are_installed_from_a_lock_file_and_once(tmp_path: Path) -> None:
    said: list[str] = []
    folder, target = tmp_path / "lock", tmp_path / "installed"
    folder.mkdir()
    (folder / "package.json").write_text('{"name": "x", "version": "1.0.0", "private": true}')
    lock = (
        '{"name": "x", "version": "1.0.0", "lockfileVersion": 3, "packages": {"": {"name": "x", "version": "1.0.0"}}}'
    )
    (folder / "package-lock.json").write_text(lock)
    install_engines(said.append, lock_folder=folder, target=target)
    assert (target / "installed-lock.json").read_text() == lock
    install_engines(said.append, lock_folder=folder, target=target)
    assert said[-1] == f"The official runners are installed in {target}."
    assert len(said) == 3, "the second time there was nothing to do"
    (folder / "package-lock.json").write_text("broken")
    with pytest.raises(Problem, match="could not be installed") as caught:
        install_engines(said.append, lock_folder=folder, target=target)
    assert caught.value.exit_code is Exit.ENGINES
    assert (target / "installed-lock.json").read_text() == lock, "what was there is still there"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_where_node_is_not_installed_the_way_to_it_is_the_manuals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compliance.runners.program.install.find_spec", lambda name: None)
    with pytest.raises(Problem, match="Node is not installed") as caught:
        install_engines(lambda text: None, target=tmp_path / "installed")
    how = "pip install '.[node]'"
    assert f"in a checkout of the server's release, {sys.executable} -m {how}." in caught.value.remedy
    assert how in (ROOT / "docs" / "runners.md").read_text()
    monkeypatch.setattr("compliance.engines.process.node_runtime.find_spec", lambda name: None)
    node.cache_clear()
    try:
        with pytest.raises(RuntimeMissing, match=re.escape(how)):
            node()
    finally:
        node.cache_clear()


def test_an_official_runner_that_cannot_be_prepared_is_said_and_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr("compliance.engines.process.node_runtime.MODULES", Path("/nonexistent"))
    package.cache_clear()
    prepare_engines(said.append)
    package.cache_clear()
    assert len(said) == 1
    assert "its runs will take a little longer. (The npm package @adcp/sdk is not installed." in said[0]


def test_the_manual_tells_the_exit_codes_that_the_program_has() -> None:
    manual = (ROOT / "docs" / "runners.md").read_text()
    rows = dict(re.findall(r"^\| (\d) \| (.+) \|$", manual, flags=re.MULTILINE))
    assert {int(code): words for code, words in rows.items()} == {code.value: words for code, words in _CODES.items()}
    assert set(_CODES) == set(Exit)


def test_the_manual_tells_every_option() -> None:
    manual = (ROOT / "docs" / "runners.md").read_text()
    source = (ROOT / "compliance" / "runners" / "program" / "cli.py").read_text()
    assert [option for option in re.findall(r'"(--[a-z-]+)"', source) if option not in manual] == ["--version"]
