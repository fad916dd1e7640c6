"""The table of odd agents: the baseline's verdict on each, the first time and again."""

from __future__ import annotations

import pytest

from compliance.engines import Report, get_engine
from tests.agents.odd import a2a, mcp
from tests.agents.odd.table import OddAgent, served
from tests.compliance.engines.servers import target

ROWS = [*mcp.ROWS, *a2a.ROWS]


def verdicts(report: Report) -> list[tuple[str, str, str]]:
    return [(scenario.key, step.key, step.verdict.value) for _, scenario, step in report.steps()]


def said(report: Report) -> list[str]:
    """The headline, and what the steps say that did not pass."""
    return [report.headline(), *(step.actual for _, _, step in report.steps() if step.verdict != "passed")]


def test_each_row_has_a_name_of_its_own() -> None:
    names = [row.name for row in ROWS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
async def test_odd_agent_gets_the_verdict_that_it_deserves_and_the_same_again(row: OddAgent) -> None:  # E6
    async with served(row) as url:
        asked = target(url, protocol=row.protocol, token=row.token)
        first = await get_engine("baseline").run(asked)
        again = await get_engine("baseline").run(asked)

    assert first.overall() is row.verdict, "\n".join(said(first))
    assert any(row.says.lower() in each.lower() for each in said(first)), "\n".join(said(first))
    assert verdicts(again) == verdicts(first)
    assert again.overall() is first.overall()
