"""What is prepared once for all runs: it changes nothing that a run says, and no run changes it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from compliance.engines import Report
from compliance.engines.suites.adcp import AdcpEngine
from compliance.engines.suites.adcp.prepared import link_compiled, parsed_storyboards, prepare
from tests.compliance.engines.suites.adcp.agents import SDK, SIGNALS_TOKEN, signals, target

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared") / "adcp"
    prepare(SDK, folder)
    return folder


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with signals(tmp_path_factory.mktemp("agent")) as url:
        yield url


async def run(agent: str, prepared: Path) -> Report:
    report = await AdcpEngine(prepared=prepared).run(target(agent, token=SIGNALS_TOKEN))
    assert not report.harness_error
    return report


def content(folder: Path) -> dict[str, tuple[int, bytes]]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def judged(report: Report) -> list[tuple[str, str, str, str]]:
    return [
        (track.key, scenario.key, step.key, str(step.verdict))
        for track in report.tracks
        for scenario in track.scenarios
        for step in scenario.steps
    ]


async def test_a_run_judges_the_same_prepared_or_not(agent: str, prepared: Path, tmp_path: Path) -> None:
    assert judged(await run(agent, prepared)) == judged(await run(agent, tmp_path / "nothing"))


async def test_a_run_neither_adds_to_what_is_prepared_nor_changes_it(agent: str, prepared: Path) -> None:
    before = content(prepared)
    assert len(before) > 100
    await run(agent, prepared)
    assert content(prepared) == before


async def test_a_storyboard_that_was_parsed_beforehand_is_what_runs_read(
    agent: str, prepared: Path, tmp_path: Path
) -> None:
    # What is kept is used: an entry that says something else is heard.
    told = json.loads(Path(parsed_storyboards(prepared)).read_text())
    changed = {key: value.replace('"title":"', '"title":"Kept: ') for key, value in told.items()}
    (tmp_path / "storyboards.json").write_text(json.dumps(changed))
    titles = [scenario.title for track in (await run(agent, tmp_path)).tracks for scenario in track.scenarios]
    assert any(title.startswith("Kept: ") for title in titles)


def test_preparing_again_replaces_what_is_there(tmp_path: Path) -> None:
    folder = tmp_path / "adcp"
    for _ in range(2):
        prepare(SDK, folder)
    assert [path.name for path in tmp_path.iterdir()] == ["adcp"]
    assert all(path.stat().st_mode & 0o222 == 0 for path in folder.rglob("*") if path.is_file())


def test_a_run_without_anything_prepared_compiles_for_itself(tmp_path: Path) -> None:
    assert link_compiled(tmp_path / "nothing", tmp_path) == {}
    assert parsed_storyboards(tmp_path / "nothing") == ""
    assert list(tmp_path.iterdir()) == []
