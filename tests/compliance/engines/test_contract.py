"""The contract of the engines, the suites as data, and the status that follows from a report."""

from __future__ import annotations

import subprocess
import sys

import pytest

from compliance.engines import (
    SUITES,
    Overall,
    Report,
    Scenario,
    Step,
    Track,
    UnknownEngine,
    Verdict,
    get_engine,
    get_suite,
)


def report(*tracks: tuple[str, list[Verdict]], **more) -> Report:
    built = tuple(
        Track(key, key, (Scenario(f"{key}/s", key, tuple(Step(str(n), str(n), v) for n, v in enumerate(verdicts))),))
        for key, verdicts in tracks
    )
    return Report("baseline", "1.0", "baseline", "mcp", "", built, 1, **more)


P, F, S = Verdict.PASSED, Verdict.FAILED, Verdict.SKIPPED


@pytest.mark.parametrize(
    ("tracks", "overall"),
    [
        ([("connectivity", [P]), ("errors", [P])], Overall.PASSING),
        ([("connectivity", [P]), ("errors", [F])], Overall.PARTIAL),
        ([("connectivity", [P, F]), ("errors", [S])], Overall.FAILING),
        ([("errors", [F])], Overall.FAILING),
        ([("errors", [S])], Overall.INCONCLUSIVE),
    ],
)
def test_status_follows_from_the_steps(tracks, overall: Overall) -> None:
    assert report(*tracks).overall() is overall


@pytest.mark.parametrize("more", [{"truncated": True}, {"harness_error": "KeyError"}])
def test_broken_or_truncated_report_is_inconclusive_whatever_failed(more) -> None:  # R7
    assert report(("connectivity", [F]), **more).overall() is Overall.INCONCLUSIVE


def test_engine_is_found_by_name_and_built_once() -> None:
    engine = get_engine("baseline")

    assert (engine.name, engine.version) == ("baseline", "1.0")
    assert get_engine("baseline") is engine
    with pytest.raises(UnknownEngine, match="astrology"):
        get_engine("astrology")


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.slug)
def test_suite_is_complete_and_its_keys_are_unique(suite) -> None:
    assert get_suite(suite.slug) is suite
    assert get_engine(suite.engine)
    assert suite.title
    assert suite.description
    keys = suite.scenario_keys()
    assert len(keys) == len(set(keys))
    for track in suite.tracks:
        for scenario in track.scenarios:
            assert scenario.protocol in ("", *suite.protocols)
            assert len({s.key for s in scenario.steps}) == len(scenario.steps)
            assert all(s.title and s.expected and s.spec_url.startswith("https://") for s in scenario.steps)


def test_suite_of_one_protocol_holds_nothing_of_another() -> None:
    keys = {s.key for track in get_suite("baseline").for_protocol("mcp") for s in track.scenarios}

    assert "mcp/lifecycle" in keys
    assert not {key for key in keys if key.startswith("a2a/")}
    assert {s.key for t in get_suite("baseline").for_protocol("") for s in t.scenarios} == {"connectivity/reach"}


@pytest.mark.processes
def test_engines_and_demo_agents_bring_in_no_django() -> None:
    code = (
        "import sys, compliance.engines, compliance.demo_agents.__main__;"
        "sys.exit(any(m.split('.')[0] in ('django', 'celery', 'psycopg', 'redis') for m in sys.modules))"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
