"""Two runs compared: what became of each step, and whether the agent changed or we did."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from compliance.engines.reports.model import Report, Scenario, Step, Track, Verdict
from compliance.models import AgentContext, ComplianceRun, Organization
from compliance.runs.comparison import Comparison, Kind, StepId, background_of, compare_runs
from compliance.runs.recording import UsedCredential
from compliance.tenancy.ids import uuid7
from compliance.tenancy.scope import organization_scope, platform_scope
from tests.conftest import make_context, make_run

pytestmark = pytest.mark.django_db

START = timezone.now() - timedelta(days=2)


def report(_scenario: str = "a/b/c", _observations: dict[str, Any] | None = None, **verdicts: str) -> Report:
    """A report of one scenario with a step of each name."""
    steps = tuple(Step(key, f"Step {key}", Verdict(verdict)) for key, verdict in verdicts.items())
    return Report(
        "baseline", "1.0", "baseline", "mcp", "2025-11-25", (Track("t", "T", (Scenario(_scenario, "S", steps),)),),
        duration_ms=5, observations=_observations or {"server_version": "1", "tools_digest": "aa", "latency_ms": 5},
    )  # fmt: skip


def hours(after: int) -> datetime:
    return START + timedelta(hours=after)


def compared(organization: Organization, before: Report, after: Report, **fields: Any) -> Comparison:
    first = make_run(organization=organization, report=before, tested_at=hours(0))
    second = make_run(organization=organization, report=after, tested_at=hours(1), **fields)
    with organization_scope(organization.id):
        runs = ComplianceRun.objects.select_related("suite_version__suite")
        return compare_runs(runs.get(pk=first.pk), runs.get(pk=second.pk))


def kinds(comparison: Comparison) -> dict[str, Kind]:
    return {change.id.step: change.kind for change in comparison.changes}


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        ("passed", "failed", Kind.NEWLY_FAILING),
        ("skipped", "failed", Kind.NEWLY_FAILING),
        ("failed", "failed", Kind.STILL_FAILING),
        ("failed", "passed", Kind.FIXED),
        # R6: what is not looked at is not fixed.
        ("failed", "skipped", Kind.CHANGED),
        ("failed", "silent", Kind.CHANGED),
        ("failed", "not_applicable", Kind.CHANGED),
        ("failed", "not_tested", Kind.CHANGED),
        ("passed", "silent", Kind.CHANGED),
        ("silent", "not_applicable", Kind.CHANGED),
        ("passed", "passed", Kind.SAME),
        ("skipped", "skipped", Kind.SAME),
    ],
)
def test_what_became_of_a_step(
    organization: Organization, context: AgentContext, before: str, after: str, kind: Kind
) -> None:
    assert kinds(compared(organization, report(one=before), report(one=after))) == {"one": kind}


def test_steps_that_only_one_run_has_are_new_or_gone(organization: Organization, context: AgentContext) -> None:
    comparison = compared(organization, report(one="failed", two="passed"), report(two="passed", three="failed"))
    assert kinds(comparison) == {"one": Kind.GONE, "two": Kind.SAME, "three": Kind.NEW}


def test_the_same_step_key_in_another_scenario_is_another_step(
    organization: Organization, context: AgentContext
) -> None:  # R12
    comparison = compared(organization, report("a/b", one="passed"), report("a/b/c", one="failed"))
    assert [(change.id.anchor, change.kind) for change in comparison.changes] == [
        ("a/b/c/one", Kind.NEW),
        ("a/b/one", Kind.GONE),
    ]


def test_the_agents_own_changes_are_told_from_ours(organization: Organization, context: AgentContext) -> None:
    before = report(one="passed")
    agents = compared(organization, before, report("a/b/c", {"server_version": "2", "latency_ms": 900}, one="passed"))
    assert [(d.what, d.before, d.after, d.ours) for d in agents.differences] == [
        ("Server version", "1", "2", False),
        ("Tools digest", "aa", "", False),
    ]
    assert (agents.agent_changed, agents.we_changed) == (True, False)
    ours = compared(
        organization, before, replace(before, engine_version="1.1", spec_version="x", runtime={"node": "2"})
    )
    assert [(d.what, d.after) for d in ours.differences] == [
        ("Engine", "baseline 1.1"),
        ("Specification", "x"),
        ("Runtime: node", "2"),
    ]
    assert (ours.agent_changed, ours.we_changed) == (False, True)


def test_what_is_measured_anew_in_each_run_is_no_difference(organization: Organization, context: AgentContext) -> None:
    slow = {"server_version": "1", "tools_digest": "aa", "latency_ms": 900, "requests": 7}
    assert not compared(organization, report(one="passed"), report("a/b/c", slow, one="passed")).differences


def test_another_credential_and_another_executor_are_differences_of_ours(
    organization: Organization, context: AgentContext
) -> None:
    with_key = UsedCredential(organization.id, uuid7(), "staging key")
    comparison = compared(
        organization, report(), report(), credential=with_key, executor_kind="private", executor_name="rack 4"
    )
    assert {(d.what, d.before, d.after) for d in comparison.differences} == {
        ("Credential", "", "staging key"),
        ("Executor", "Hosted", "rack 4"),
    }


def test_two_credentials_of_one_name_are_a_difference(organization: Organization, context: AgentContext) -> None:
    first = make_run(organization=organization, credential=UsedCredential(organization.id, uuid7(), "key"))
    second = make_run(organization=organization, credential=UsedCredential(organization.id, uuid7(), "key"))
    with organization_scope(organization.id):
        assert [d.what for d in compare_runs(first, second).differences] == ["Credential"]


def test_a_private_runner_by_the_name_of_another_executor_is_a_difference(
    organization: Organization, context: AgentContext
) -> None:
    runs = [
        make_run(verdict, organization=organization, tested_at=hours(hour), **where)
        for hour, (verdict, where) in enumerate(
            [
                ("passed", {}),
                ("failed", {"executor_kind": "private", "executor_name": "Hosted", "executor_id": uuid7()}),
            ]
            * 4
        )
    ]
    with organization_scope(organization.id):
        assert [d.what for d in compare_runs(*runs[:2]).differences] == ["Executor"]
        assert background_of(runs[-1]).flaky == {}


class TestBackground:
    def test_is_what_is_comparable(
        self, organization: Organization, other_organization: Organization, context: AgentContext
    ) -> None:
        make_context(other_organization)
        passing = make_run(organization=organization, report=report(one="passed"), tested_at=hours(0))
        failing = make_run(organization=organization, report=report(one="failed"), tested_at=hours(1))
        make_run(organization=organization, report=report(one="passed"), tested_at=hours(2), full_suite=False)
        make_run(organization=organization, report=report(one="skipped"), tested_at=hours(3))  # inconclusive
        make_run(organization=other_organization, report=report(one="passed"), tested_at=hours(4))
        make_run(report=report(one="passed"), tested_at=hours(5))  # a heartbeat
        now = make_run(organization=organization, report=report(one="failed"), tested_at=hours(6))
        with organization_scope(organization.id):
            background = background_of(now)
        assert (background.previous, background.last_passing) == (failing, passing)

    def test_of_a_heartbeat_is_heartbeats(self, organization: Organization, context: AgentContext) -> None:
        beat = make_run(report=report(one="passed"), tested_at=hours(0))
        make_run(organization=organization, report=report(one="passed"), tested_at=hours(1))
        now = make_run(report=report(one="failed"), tested_at=hours(2))
        with platform_scope():
            assert background_of(now).previous == beat

    def test_of_the_first_run_is_empty(self, organization: Organization, context: AgentContext) -> None:
        now = make_run(organization=organization, report=report(one="passed"))
        with organization_scope(organization.id):
            background = background_of(now)
        assert (background.previous, background.last_passing, background.flaky) == (None, None, {})

    def test_a_pass_long_ago_is_found(self, organization: Organization, context: AgentContext) -> None:
        passing = make_run(organization=organization, report=report(one="passed"), tested_at=hours(0))
        for hour in range(1, 25):
            now = make_run(organization=organization, report=report(one="failed"), tested_at=hours(hour))
        with organization_scope(organization.id):
            assert background_of(now).last_passing == passing


class TestFlaky:
    def background(self, organization: Organization, reports: list[Report]) -> dict[StepId, Any]:
        for hour, one in enumerate(reports):
            run = make_run(organization=organization, report=one, tested_at=hours(hour))
        with organization_scope(organization.id):
            return background_of(run).flaky

    def test_is_a_step_that_often_changes_while_nothing_else_does(
        self, organization: Organization, context: AgentContext
    ) -> None:
        verdicts = ["passed", "failed", "passed", "passed", "failed"]
        flaky = self.background(organization, [report(one=verdict, two="passed") for verdict in verdicts])
        assert {key.step: (f.flips, f.pairs) for key, f in flaky.items()} == {"one": (3, 4)}

    def test_is_not_a_step_that_broke_once(self, organization: Organization, context: AgentContext) -> None:
        reports = [report(one=verdict) for verdict in ("passed", "passed", "failed", "failed", "passed")]
        assert self.background(organization, reports) == {}

    def test_is_not_an_agent_that_changes(self, organization: Organization, context: AgentContext) -> None:
        reports = [
            report("a/b/c", {"server_version": str(number)}, one=verdict)
            for number, verdict in enumerate(["passed", "failed"] * 4)
        ]
        assert self.background(organization, reports) == {}

    def test_is_not_a_step_that_is_sometimes_skipped(self, organization: Organization, context: AgentContext) -> None:
        reports = [report(one=verdict, two="passed") for verdict in ["passed", "skipped"] * 4]
        assert self.background(organization, reports) == {}

    def test_is_forgotten_when_the_agent_is_steady_again(
        self, organization: Organization, context: AgentContext
    ) -> None:
        reports = [report(one=verdict) for verdict in ["passed", "failed"] * 3 + ["passed"] * 20]
        assert self.background(organization, reports) == {}
