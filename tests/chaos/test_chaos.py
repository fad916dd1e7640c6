"""A minute of chaos, with real processes that are really killed."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from tests.chaos.disturber import BAG, plan
from tests.processes import ROOT

SECONDS, SEED = 60, 20261121
MOST_SECONDS = 900  # with everything started, calmed down and stopped, on a machine that has other work


@pytest.mark.timeout(MOST_SECONDS + 120)
def test_a_minute_of_chaos_loses_nothing_doubles_nothing_and_leaves_nothing_stuck(  # L1 L5 L6 L8 L12 L13
    tmp_path: Path,
) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.chaos", "--seconds", str(SECONDS), "--seed", str(SEED), "--folder", tmp_path],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as run:
        try:
            said, _ = run.communicate(timeout=MOST_SECONDS)
        finally:
            run.terminate()  # it ends its own children; who has ended already does not mind
    assert run.returncode == 0, said[-10_000:]
    assert "FAILS" not in said
    assert said.count("  holds  ") > 15, "all checks were made"


def test_a_seed_gives_the_same_plan_each_time_with_every_disturbance_in_it() -> None:
    deeds = plan(SEED, SECONDS)
    assert deeds == plan(SEED, SECONDS)
    assert deeds != plan(SEED + 1, SECONDS)
    assert {deed.what for deed in deeds} == set(BAG)
    assert all(before.after < after.after < SECONDS for before, after in pairwise(deeds))
