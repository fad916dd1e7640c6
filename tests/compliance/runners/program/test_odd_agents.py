"""The table of odd agents by a private runner: each gets the verdict that hosted workers give it (E6, R8)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.agents.odd import a2a, mcp
from tests.agents.odd.table import served
from tests.compliance.runners.program.assay import Assay, Loop
from tests.compliance.runners.program.conftest import Start

pytestmark = [pytest.mark.processes, pytest.mark.timeout(300)]


def test_runner_gives_each_odd_agent_its_verdict(
    assay: Assay, start: Start, background: Loop, tmp_path: Path
) -> None:  # E6, R8
    rows = {background.enter(served(row)): row for row in (*mcp.ROWS, *a2a.ROWS)}
    secrets = tmp_path / "secrets.json"
    secrets.write_text(json.dumps({url: {"bearer": row.token} for url, row in rows.items() if row.token is not None}))
    secrets.chmod(0o600)
    work = {url: assay.add(url, protocol="") for url in rows}
    runner = start("--once", "--concurrency", 6, "--secrets-file", secrets)

    assert runner.child.wait(200) == 0, runner.output()
    verdicts = {rows[url].name: each.lease["overall"] for url, each in work.items()}
    assert verdicts == {row.name: row.verdict.value for row in rows.values()}
