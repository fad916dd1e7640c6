"""The official A2A compatibility kit: where it is, how it is started, and what it said."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from compliance.engines.contract import Target
from compliance.engines.http.egress import Guard
from compliance.engines.process.paths import path_of
from compliance.engines.process.runner import scratch_folder
from compliance.engines.suites.official import ProgramOutput

NAME = "a2a-tck"
MEMORY_MB = 512
_PLUGIN = Path(__file__).with_name("tck_plugin.py")
_MARK = b"\x1eASSAY "
_TESTS = "tests/compatibility"
# Needs a listener of ours that the agent could call: the guard is about connections that go out.
_LEFT_OUT = ("core_operations/test_push_notifications.py", "grpc")
_HARMLESS = "agent_card"
_REQUIREMENT = re.compile(r"\b([A-Z][A-Z_]*(?:-[A-Z]+)+-\d+[a-z]?) \[")


class KitMissing(Exception):
    """The kit is not where it should be; the message says what is missing, and how to get it."""


@dataclass(frozen=True, slots=True)
class Kit:
    folder: Path
    python: Path
    version: str


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one of the kit's tests."""

    test: str  # pytest's name for it, relative to the kit's folder of tests
    outcome: str  # "passed", "failed" or "skipped"
    when: str  # "setup", "call" or "teardown"
    expected_failure: bool  # what fails is no demand, only advice
    reason: str
    ms: int

    @property
    def requirement(self) -> str:
        found = _REQUIREMENT.search(self.reason)
        return found[1] if found else ""


@dataclass(slots=True)
class RunnerOutput(ProgramOutput):
    """Everything that came of one start of the kit."""

    collected: list[str] = field(default_factory=list)
    results: dict[str, Result] = field(default_factory=dict)
    requirements: dict[str, str] = field(default_factory=dict)  # test to identifier, from the kit's own report
    advice: set[str] = field(default_factory=set)  # identifiers of what is no MUST, from there too


def find_kit() -> Kit:
    """The kit on this machine. Raises KitMissing."""
    folder = path_of(NAME)
    if folder is None:
        raise KitMissing("The official compatibility kit is not set up: A2A_TCK_PATH names no checkout of it.")
    if not (folder / _TESTS).is_dir() or not (folder / "pyproject.toml").is_file():
        raise KitMissing(f"There is no checkout of the compatibility kit at A2A_TCK_PATH ({folder}).")
    python = folder / ".venv" / "bin" / "python"
    if not os.access(python, os.X_OK):
        raise KitMissing(f"The kit at {folder} has no virtual environment .venv with its requirements.")
    try:
        project = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]
    except (OSError, ValueError, KeyError) as error:
        raise KitMissing(f"The kit's pyproject.toml cannot be read ({type(error).__name__}).") from error
    return Kit(folder, python, str(project.get("version", "unknown")))


async def run_kit(
    kit: Kit,
    target: Target,
    *,
    base_url: str,
    everything: bool,
    guard: Guard,
    seconds: float,
    on_test: Callable[[str, int, int], None],
    memory_mb: int = MEMORY_MB,
) -> RunnerOutput:
    """Run the kit's tests in one process. everything: also those that set the agent to work.

    on_test: the test that has ended, how many have, and how many there are.
    """
    output = RunnerOutput()

    def hear(line: bytes) -> None:
        # Pytest writes its dots where it likes: the mark says where a line of ours begins.
        _, found, text = line.partition(_MARK)
        if not found:
            return
        try:
            event = json.loads(text)
            if event["event"] == "collected":
                output.collected = [_short(test) for test in event["tests"]]
            elif event["event"] == "test":
                result = _result(event)
                output.results[result.test] = result
                on_test(result.test, len(output.results), len(output.collected))
            elif event["event"] == "broken":
                output.harness_error = "Some of the kit's tests could not be loaded"
            elif event["event"] == "end":
                output.ended = True
        except (ValueError, KeyError, TypeError) as error:
            output.harness_error = f"The kit's output could not be read ({type(error).__name__})"

    with scratch_folder() as folder:
        (folder / "plugin").mkdir()
        (folder / "plugin" / "assay_tck_plugin.py").write_bytes(_PLUGIN.read_bytes())
        await output.run(
            _command(kit, base_url, folder, everything=everything),
            program="The kit",
            target=target,
            guard=guard,
            seconds=seconds,
            memory_mb=memory_mb,
            folder=folder,
            on_line=hear,
            env={"PYTHONPATH": f"{folder / 'plugin'}:{kit.folder}", "PYTHONDONTWRITEBYTECODE": "1"},
        )
        output.requirements, output.advice = _requirements(folder / "kit.json")
    if not output.collected and not output.truncated and not output.harness_error:
        output.harness_error = "The kit found no tests of its own"
    return output


def _command(kit: Kit, base_url: str, folder: Path, *, everything: bool) -> list[str]:
    tests = kit.folder / _TESTS
    return [
        str(kit.python),
        "-m",
        "pytest",
        str(tests if everything else tests / _HARMLESS),
        f"--rootdir={kit.folder}",
        f"-c={kit.folder / 'pyproject.toml'}",
        "-p",
        "no:cacheprovider",
        "-p",
        "assay_tck_plugin",
        "-q",
        "--tb=line",
        f"--sut-host={base_url}",
        # Its gRPC client would not pass the guard of addresses.
        "--transport=jsonrpc,http_json",
        f"--compatibility-report={folder / 'kit'}",
        *(f"--ignore={tests / part}" for part in _LEFT_OUT),
    ]


def _short(test: Any) -> str:
    text = str(test)
    return text.partition(f"{_TESTS}/")[2] or text


def _result(event: dict[str, Any]) -> Result:
    if event["outcome"] not in ("passed", "failed", "skipped"):
        raise ValueError("an outcome that pytest does not have")
    return Result(
        _short(event["test"]),
        str(event["outcome"]),
        str(event["when"]),
        bool(event["expected_failure"]),
        str(event["reason"]),
        int(float(event["seconds"]) * 1000),
    )


def _requirements(path: Path) -> tuple[dict[str, str], set[str]]:
    """Test to requirement, where a test has just one, and which are no MUST; empty when the kit wrote no report."""
    try:
        report = json.loads(path.read_text("utf-8"))["per_requirement"]
        pairs = [(_short(test), str(key)) for key, entry in report.items() for test in entry["test_ids"]]
        advice = {str(key) for key, entry in report.items() if entry["level"] != "MUST"}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}, set()
    times = Counter(test for test, _ in pairs)
    return {test: key for test, key in pairs if times[test] == 1}, advice
