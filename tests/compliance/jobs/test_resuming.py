"""A suite whose run was cut off begins the next time with what was not reached."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from compliance.engines.contract import NOT_REACHED
from compliance.engines.reports.model import Report, Scenario, Step, Track, Verdict
from compliance.jobs.actions import request_owner_test
from compliance.jobs.completion import complete_job
from compliance.jobs.leases import Lease
from compliance.jobs.queue import lease_job
from compliance.jobs.resuming import first_not_reached
from compliance.models import AgentContext, Organization, User

SUITE = "mcp-conformance"


@pytest.fixture(autouse=True)
def _not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compliance.celery.app.send_task", lambda name, args: None)


def tracks(*reached: bool) -> list[dict[str, Any]]:
    """Two scenarios in each track, called 0, 1, 2 and so on."""
    scenarios = [
        {"key": str(number), "steps": [{"actual": "Answered" if seen else NOT_REACHED}]}
        for number, seen in enumerate(reached)
    ]
    return [{"scenarios": scenarios[at : at + 2]} for at in range(0, len(scenarios), 2)]


@pytest.mark.parametrize(
    ("reached", "first"),
    [
        ((True, True, True), ""),
        ((True, True, False, False), "2"),
        ((True, False), "1"),
        ((False, False, False), "0"),
        ((False, False, True, True), "0"),
        # Began at 2 and was cut off after 3: what comes next in its order is 4, and then 0.
        ((False, False, True, True, False, False), "4"),
        ((True, False, True, False), "1"),
        ((), ""),
    ],
)
def test_it_begins_after_what_was_reached(reached: tuple[bool, ...], first: str) -> None:  # Q2
    assert first_not_reached(tracks(*reached)) == first


def leased(organization: Organization, context: AgentContext, by: User, **asked: Any) -> Lease:
    job, _ = request_owner_test(organization=organization, context_id=context.pk, by=by, suite_slug=SUITE, **asked)
    lease = lease_job(job.pk, organization.id)
    assert lease is not None
    return lease


def report(*, truncated: bool, reached: int) -> Report:
    steps = [
        Scenario(key, key, (Step("s", key, Verdict.PASSED if n < reached else Verdict.NOT_TESTED, actual=said),))
        for n, key in enumerate(("ping", "tools-list", "tools-call"))
        for said in ("Answered" if n < reached else NOT_REACHED,)
    ]
    made = Report("mcp-conformance", "1", SUITE, "mcp", "", (Track("all", "All", tuple(steps)),), 5)
    return replace(made, truncated=truncated)


def test_a_run_that_was_cut_off_is_gone_on_with_by_the_next_lease_and_a_whole_one_is_not(
    organization: Organization, context: AgentContext, other_organization: Organization, alice: User
) -> None:  # Q2
    first = leased(organization, context, alice)
    assert "begin_at" not in first.options
    complete_job(first, report(truncated=True, reached=2))
    second = leased(organization, context, alice)
    assert second.options["begin_at"] == "tools-call"
    complete_job(second, report(truncated=False, reached=3))
    third = leased(organization, context, alice)
    assert "begin_at" not in third.options
    complete_job(third, report(truncated=True, reached=1))
    chosen = leased(organization, context, alice, scenarios=["ping"])
    assert "begin_at" not in chosen.options, "who chose scenarios gets these"


def test_what_another_organization_had_cut_off_changes_nothing(
    organization: Organization,
    context: AgentContext,
    alice: User,
    other_organization: Organization,
    other_context: AgentContext,
    charlie: User,
) -> None:  # E5, I6
    complete_job(leased(organization, context, alice), report(truncated=True, reached=1))
    assert "begin_at" not in leased(other_organization, other_context, charlie).options
