"""A run's page: every verdict by its name, and evidence for those who may read it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from compliance.engines.reports.model import Evidence, Notice, Report, Scenario, Step, Track, Verdict
from compliance.models import AgentContext, ComplianceRun, Organization, User
from compliance.runs.recording import UsedCredential
from compliance.tenancy.ids import uuid7
from dashboard.runs import report_page as reports
from tests.conftest import make_context, make_report, make_run
from tests.dashboard.pages import markup

pytestmark = pytest.mark.django_db

SECRET_LOOKING = Evidence(request={"method": "<b>tools/list"}, response="what the agent said")


@pytest.fixture
def alices(alice: User, organization: Organization, reader: Any) -> Client:
    client: Client = reader(alice)
    return client


def page(client: Client, organization: Organization, run: ComplianceRun) -> str:
    response = client.get(reverse("run", args=[organization.slug, run.pk]))
    assert response.status_code == 200
    return markup(response)


def test_the_six_verdicts_have_six_names(
    alices: Client, organization: Organization, context: AgentContext
) -> None:  # R6
    text = page(alices, organization, make_run(*[verdict.value for verdict in Verdict], organization=organization))
    for words in ("1 passed", "1 failed", "1 skipped", "1 silent", "1 not applicable", "1 not tested"):
        assert f"{words}</span>" in text
    for verdict in Verdict:
        assert f'<span class="v v-{verdict.value}">' in text


def test_failures_come_first(alices: Client, organization: Organization, context: AgentContext) -> None:
    text = page(alices, organization, make_run("passed", "silent", "failed", organization=organization))
    assert text.index("Check 2") < text.index("Check 0") < text.index("Check 1")


def test_a_long_run_opens_its_first_failures_and_folds_what_did_not_fail(
    alices: Client, organization: Organization, context: AgentContext
) -> None:
    scenarios = tuple(
        Scenario(f"many/{number}", f"Scenario {number}", (Step(key="s", title="Check", verdict=verdict),))
        for number, verdict in enumerate([Verdict.PASSED, Verdict.FAILED] * 30)
    )
    report = replace(make_report(), tracks=(Track("many", "Many", scenarios),))
    run = make_run(organization=organization, report=report)
    text = markup(alices.get(reverse("run", args=[organization.slug, run.pk])))
    assert text.count('<details class="scenario" open>') == reports.OPENED
    assert "30 scenarios in which nothing failed" in text
    assert text.index("Scenario 59<") < text.index("in which nothing failed") < text.index("Scenario 0<")
    assert "30 passed, 30 failed" in text
    assert reports.step_at(run, 0) is not None  # folded steps have their evidence as others have


def test_provenance_in_words(alices: Client, organization: Organization, context: AgentContext) -> None:
    text = page(alices, organization, make_run(organization=organization))
    assert "Observer test, asked for by Alice Owner, run by Assay&#x27;s hosted workers" in text.replace("'", "&#x27;")
    assert "engine baseline 1.0" in text
    assert "MCP 2025-06-18" in text
    beat = page(alices, organization, make_run())
    assert "Heartbeat, by the platform for everybody who has this agent" in beat


@pytest.mark.parametrize(
    ("report", "said"),
    [
        (make_report("passed", "not_tested", truncated=True), "ran out before every check had run"),
        (make_report("passed", harness_error="ValueError in the engine"), "The test itself broke, not the agent"),
        (make_report("skipped"), "No check could be judged"),
        (make_report("failed").without_access("Key", 401), "refused the credential “Key” (HTTP 401). Replace it, or"),
        (
            replace(
                make_report("skipped", harness_error="Assay does not test this address"),
                refused=True,
                notices=(Notice("refused", "Private"),),
            ),
            "That is a rule of this site.",
        ),
    ],
)
def test_what_says_nothing_about_the_agent_says_so(
    alices: Client, organization: Organization, context: AgentContext, report: Report, said: str
) -> None:  # R7
    text = page(alices, organization, make_run(organization=organization, report=report))
    assert said in text
    assert text.count("It says nothing about the agent, and changes no status.") == 1
    assert text.count("nothing about the agent") == 1
    assert "because it is inconclusive" in text


def test_what_a_private_runner_may_not_test_is_said_to_be_its_own_rule(
    alices: Client, organization: Organization, context: AgentContext
) -> None:
    report = make_report("skipped", harness_error="This runner's allow-list does not let it test a.internal")
    report = replace(report, refused=True, notices=(Notice("refused", "Not on the list"),))
    text = page(alices, organization, make_run(organization=organization, report=report, executor_kind="private"))
    assert "That is the runner&#x27;s own rule, not this site&#x27;s." in text
    assert "a rule of this site" not in text


def test_what_does_not_count_says_why(alices: Client, organization: Organization, context: AgentContext) -> None:
    dry = page(alices, organization, make_run(organization=organization, dry_run=True))
    assert "it was a dry run" in dry
    assert ">Dry run<" in dry
    assert "only a part of the suite" in page(alices, organization, make_run(full_suite=False))
    assert "Counts for the agent" in page(alices, organization, make_run())
    assert "is not its verified owner" in page(alices, organization, make_run(organization=organization))


def test_a_scenarios_key_keeps_its_slashes(
    alices: Client, organization: Organization, context: AgentContext
) -> None:  # R12
    step = Step("odd key", "Odd", Verdict.PASSED, spec_url="javascript:alert(1)")
    report = Report(
        "e", "1", "baseline", "mcp", "1", (Track("t", "T", (Scenario("a/b/c", "S", (step,)),)),), duration_ms=5
    )
    text = page(alices, organization, make_run(organization=organization, report=report))
    assert 'id="a/b/c/odd-key"' in text
    assert "javascript:" not in text


def test_a_heartbeat_of_an_agent_that_one_does_not_have_does_not_exist(
    alices: Client, organization: Organization, other_context: AgentContext
) -> None:
    run = make_run()
    assert alices.get(reverse("run", args=[organization.slug, run.pk])).status_code == 404


class TestEvidence:
    def test_of_ones_own_run(self, alices: Client, organization: Organization, context: AgentContext) -> None:
        run = make_run(organization=organization, report=make_report("failed", evidence=SECRET_LOOKING))
        address = reverse("evidence", args=[organization.slug, run.pk, 0])
        assert address in page(alices, organization, run)
        whole = markup(alices.get(address))
        assert "&lt;b&gt;tools/list" in whole
        part = markup(alices.get(address, headers={"HX-Request": "true"}))
        assert "what the agent said" in part
        assert "<html" not in part
        assert alices.get(reverse("evidence", args=[organization.slug, run.pk, 1])).status_code == 404
        assert alices.get(reverse("evidence", args=[organization.slug, run.pk, 99_999])).status_code == 404

    def test_of_a_heartbeat_is_the_verified_owners(
        self, alices: Client, organization: Organization, other_context: AgentContext, charlie: User, reader: Any
    ) -> None:
        make_context(organization, verified=True)
        run = make_run(report=make_report("failed", evidence=SECRET_LOOKING))
        address = reverse("evidence", args=[organization.slug, run.pk, 0])
        assert address in page(alices, organization, run)
        assert alices.get(address).status_code == 200
        theirs = other_context.organization
        text = page(reader(charlie), theirs, run)
        assert "shown to the agent" in text
        assert "Evidence: request" not in text
        assert reader(charlie).get(reverse("evidence", args=[theirs.slug, run.pk, 0])).status_code == 404

    def test_of_a_credentials_use_is_its_owners(
        self, alices: Client, organization: Organization, context: AgentContext, other_organization: Organization
    ) -> None:
        make_context(other_organization, verified=True)
        run = make_run(
            report=make_report("failed", evidence=SECRET_LOOKING),
            credential=UsedCredential(organization.id, uuid7(), "staging key"),
        )
        assert alices.get(reverse("evidence", args=[organization.slug, run.pk, 0])).status_code == 200


def test_observations_are_readable() -> None:
    run = ComplianceRun(observations={"latency_ms": 12, "tools": ["a", "b"], "nothing": None, "server": {"name": "x"}})
    assert reports.observations(run) == [("Tools", "a, b"), ("Latency", "12 ms"), ("Server", "name: x")]
