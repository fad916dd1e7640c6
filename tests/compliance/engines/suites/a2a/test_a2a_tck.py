"""The engine of the official A2A kit: a checkout made for the test, with a real pytest of its own; and the real one."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from compliance.engines import Overall, Progress, Report, engine_health, get_engine
from compliance.engines.process.paths import use_paths
from compliance.engines.reports.validation import accepted
from compliance.engines.suites.a2a.tck_kit import find_kit
from tests.compliance.engines.servers import bound, serving, step, target
from tests.compliance.engines.suites.a2a.test_a2a_must import altered, on_card, reference

pytestmark = pytest.mark.processes

CONFTEST = """
import json, httpx, pytest

def pytest_addoption(parser):
    for name in ("--sut-host", "--transport", "--compatibility-report"):
        parser.addoption(name)

def pytest_sessionfinish(session):
    some = "tests/compatibility/jsonrpc/test_some.py"
    report = {"A2A-ADVICE-001": {"level": "SHOULD", "test_ids": [f"{some}::test_advice"]},
              "A2A-GET-001": {"level": "MUST", "test_ids": [f"{some}::test_good"]}}
    with open(session.config.getoption("--compatibility-report") + ".json", "w") as file:
        json.dump({"per_requirement": report}, file)

@pytest.fixture
def card(request):
    return httpx.get(request.config.getoption("--sut-host") + "/.well-known/agent-card.json")
"""
CARD_TEST = """
def test_card_is_there(card):
    assert card.status_code == 200
"""
SOME = """
import pytest

def test_good(card):
    assert card.json()["name"] == "Echo"

def test_bad(card):
    assert card.json()["name"] == "Other", "CARD-NAME-001 [The name] failed on jsonrpc: it is Echo"

def test_advice():
    assert False, "better so"

@pytest.mark.xfail(reason="only advice")
def test_expected():
    assert False

def test_left_out():
    pytest.skip("the agent answered otherwise")

def test_undeclared():
    pytest.skip("Transport 'grpc' not configured")

@pytest.fixture
def broken():
    raise RuntimeError("the kit's own fault")

def test_broken(broken):
    pass
"""


def checkout(folder: Path, **files: str) -> Path:
    kit = folder / "kit"
    for name, text in {"agent_card": CARD_TEST, "jsonrpc": SOME, **files}.items():
        place = kit / "tests" / "compatibility" / name
        place.mkdir(parents=True)
        (place / "__init__.py").touch()
        (place / "test_some.py").write_text(text)
    (kit / "tests" / "__init__.py").touch()
    (kit / "tests" / "compatibility" / "__init__.py").touch()
    (kit / "tests" / "compatibility" / "conftest.py").write_text(CONFTEST)
    (kit / "pyproject.toml").write_text('[project]\nname = "kit"\nversion = "9.8"\n[tool.pytest.ini_options]\n')
    python = kit / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return kit


@pytest.fixture(autouse=True)
def nowhere() -> Iterator[None]:
    use_paths({})
    yield
    use_paths({})


async def check(url: str, *, work: bool = True, **changes: Any) -> Report:
    options = {"allow_side_effects": work}
    values: dict[str, Any] = {"protocol": "a2a", "suite": "a2a-tck", "options": options, "deadline": 60.0}
    on_step = changes.pop("on_step", None)
    report = await get_engine("a2a-tck").run(target(url, **(values | changes)), on_step=on_step)
    return accepted(report, engine="a2a-tck", suite="a2a-tck")


async def test_each_outcome_of_the_kit_is_a_verdict_of_its_own(tmp_path: Path) -> None:  # R6
    use_paths({"a2a-tck": str(checkout(tmp_path))})
    told: list[Progress] = []
    async with altered(lambda heard, said: None) as url:
        report = await check(url, on_step=told.append)

    verdicts = {each.key: each.verdict.value for _, s, each in report.steps() if s.key == "tck/jsonrpc/test_some"}
    assert verdicts == {
        "test_good": "passed",
        "test_bad": "failed",
        "test_advice": "silent",
        "test_expected": "silent",
        "test_left_out": "skipped",
        "test_undeclared": "not_applicable",
        "test_broken": "not_tested",
    }
    bad = step(report, "tck/jsonrpc/test_some", "test_bad")
    assert (bad.requirement, bad.title) == ("CARD-NAME-001", "Bad")
    assert step(report, "tck/jsonrpc/test_some", "test_good").requirement == "A2A-GET-001"
    assert report.overall() is Overall.PARTIAL
    assert not report.full
    assert report.engine_version == "1.0+9.8"
    assert report.runtime["a2a-tck"] == "9.8"
    assert [each.done for each in told] == list(range(1, 9))
    assert [notice.message for notice in report.notices if notice.code == "advice"]


async def test_kit_sends_no_messages_unasked(tmp_path: Path) -> None:
    use_paths({"a2a-tck": str(checkout(tmp_path))})
    async with altered(lambda heard, said: None) as url:
        report = await check(url, work=False)

    assert step(report, "tck/agent_card/test_some", "test_card_is_there").verdict == "passed"
    assert step(report, "tck/jsonrpc", "all").verdict == "skipped"
    assert report.overall() is Overall.PASSING


async def test_kit_reaches_nothing_that_the_guard_forbids(tmp_path: Path) -> None:  # V7
    with bound() as inner:
        inner.listen()
        port = inner.getsockname()[1]
        astray = (
            f"import httpx\n\ndef test_astray():\n    assert httpx.get('http://127.0.0.1:{port}/').status_code == 403\n"
        )
        use_paths({"a2a-tck": str(checkout(tmp_path, http_json=astray))})
        async with altered(lambda heard, said: None) as url:
            report = await check(url, allow=(url.removeprefix("http://"),))

        assert step(report, "tck/http_json/test_some", "test_astray").verdict == "passed"
        assert "led_astray" in {notice.code for notice in report.notices}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import os\n\ndef test_gone():\n    os._exit(3)\n", "ended before its work was done (exit 3)"),
        ("import nothing_of_this_name\n", "could not be loaded"),
        ("def test_memory():\n    x = bytearray(900_000_000)\n    while x: pass\n", "its limit of memory"),
    ],
)
async def test_kit_that_breaks_is_inconclusive_and_keeps_what_it_said(tmp_path: Path, text: str, words: str) -> None:
    use_paths({"a2a-tck": str(checkout(tmp_path, http_json=text))})
    async with altered(lambda heard, said: None) as url:
        report = await check(url)

    assert words in report.harness_error
    assert report.overall() is Overall.INCONCLUSIVE
    loaded = "loaded" not in words
    assert step(report, "tck/agent_card/test_some", "test_card_is_there").verdict == (
        "passed" if loaded else "not_tested"
    )
    assert step(report, "tck/jsonrpc/test_some", "test_good").verdict == "not_tested"


async def test_kit_that_takes_too_long_is_truncated(tmp_path: Path) -> None:  # R7
    forever = "import time\n\ndef test_forever():\n    time.sleep(600)\n"
    use_paths({"a2a-tck": str(checkout(tmp_path, core_operations=forever))})
    async with altered(lambda heard, said: None) as url:
        report = await check(url, deadline=6.0)

    assert report.truncated
    assert report.overall() is Overall.INCONCLUSIVE


async def test_agent_that_is_not_there_is_failing_and_not_the_kits_affair(tmp_path: Path) -> None:
    use_paths({"a2a-tck": str(checkout(tmp_path))})
    with bound() as closed:
        report = await check(f"http://127.0.0.1:{closed.getsockname()[1]}/")

    assert report.overall() is Overall.FAILING
    assert [track.key for track in report.tracks] == ["connectivity", "security"]


async def test_agent_that_requires_credentials_is_locked(tmp_path: Path) -> None:
    use_paths({"a2a-tck": str(checkout(tmp_path))})
    wants = {"securityRequirements": [{"schemes": {"token": {}}}]}
    async with altered(on_card(lambda card: card.update(wants))) as url:
        report = await check(url)

    assert report.locked
    assert report.overall() is Overall.INCONCLUSIVE


@pytest.mark.parametrize("missing", ["path", "folder", "python"])
async def test_kit_that_is_missing_says_so_and_nothing_else_breaks(tmp_path: Path, missing: str) -> None:
    if missing != "path":
        kit = checkout(tmp_path)
        use_paths({"a2a-tck": str(kit if missing == "python" else tmp_path / "elsewhere")})
        (kit / ".venv" / "bin" / "python").unlink()

    health = engine_health("a2a-tck")
    assert not health.available
    assert "kit" in health.reason
    assert get_engine("a2a-tck").suites() == ()
    assert engine_health("a2a").available
    async with serving(lambda *_: None) as url:
        report = await check(url)
    assert health.reason in report.harness_error
    assert report.overall() is Overall.INCONCLUSIVE


@pytest.mark.skipif("A2A_TCK_PATH" not in os.environ, reason="needs a checkout of the official kit")
async def test_the_official_kit_runs_against_a_server_made_of_the_official_parts() -> None:
    use_paths({"a2a-tck": os.environ["A2A_TCK_PATH"]})
    with reference("streaming") as url:
        report = await check(url)

    assert report.harness_error == ""
    counts = report.counts()
    assert counts["passed"] > 100
    assert counts["not_tested"] == 0
    assert {each.requirement for _, s, each in report.steps() if each.verdict == "failed" and s.key.startswith("tck")}


def officially(url: str, folder: Path) -> dict[str, str]:
    """What the kit's own pytest says of each test: passed, failed, skipped or error."""
    kit = find_kit()
    tests = kit.folder / "tests" / "compatibility"
    written = folder / "kit.xml"
    left_out = [f"--ignore={tests / part}" for part in ("core_operations/test_push_notifications.py", "grpc")]
    command = [str(kit.python), "-m", "pytest", str(tests), f"--rootdir={kit.folder}", "-q", *left_out]
    command += [f"--sut-host={url}", "--transport=jsonrpc,http_json", f"--junitxml={written}"]
    command += [f"--compatibility-report={folder / 'report'}", "-p", "no:cacheprovider"]
    subprocess.run(command, cwd=kit.folder, capture_output=True, timeout=100, check=False)
    said = {}
    for case in ElementTree.parse(written).iter("testcase"):
        kinds = {child.tag for child in case} & {"failure", "error", "skipped"}
        name = case.get("classname", "").removeprefix("tests.compatibility.")
        said[f"{name}.{case.get('name')}"] = next(iter(kinds), "passed")
    return said


@pytest.mark.skipif("A2A_TCK_PATH" not in os.environ, reason="needs a checkout of the official kit")
@pytest.mark.parametrize("flags", [("streaming",), ("streaming", "push"), ("message",)])
async def test_each_test_of_the_official_kit_says_what_its_own_pytest_says(  # E11
    tmp_path: Path, flags: tuple[str, ...]
) -> None:
    use_paths({"a2a-tck": os.environ["A2A_TCK_PATH"]})
    with reference(*flags) as theirs, reference(*flags) as ours:
        said, report = await asyncio.gather(asyncio.to_thread(officially, theirs, tmp_path), check(ours))

    assert report.harness_error == ""
    stored = {
        f"{scenario.key.removeprefix('tck/').replace('/', '.')}.{step.key.replace('::', '.')}": step.verdict
        for _, scenario, step in report.steps()
        if scenario.key.startswith("tck/")
    }
    assert len(said) > 100
    assert stored.keys() == said.keys()
    may_be = {  # more than one only where docs/verdicts.md says so
        "passed": {"passed"},
        "failure": {"failed", "silent"},
        "skipped": {"skipped", "not_applicable", "silent"},
        "error": {"not_tested"},
    }
    assert not {key: (said[key], verdict) for key, verdict in stored.items() if verdict.value not in may_be[said[key]]}
