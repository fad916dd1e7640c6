"""The pages that set two runs side by side."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from compliance.engines.reports.model import Evidence, Report, Scenario, Step, Track, Verdict
from compliance.models import AgentContext, ComplianceRun, Organization, User
from tests.conftest import make_report, make_run
from tests.dashboard.pages import markup

pytestmark = pytest.mark.django_db


@pytest.fixture
def alices(alice: User, organization: Organization, reader: Any) -> Client:
    client: Client = reader(alice)
    return client


def comparison(organization: Organization, run: ComplianceRun, other: ComplianceRun) -> str:
    return reverse("compare", args=[organization.slug, run.pk, other.pk])


def ago(minutes: int) -> Any:
    return timezone.now() - timedelta(minutes=minutes)


def test_a_run_links_to_the_run_before_and_to_the_last_that_passed(
    alices: Client, organization: Organization, context: AgentContext
) -> None:
    passing = make_run("passed", organization=organization, tested_at=ago(30))
    failing = make_run("failed", organization=organization, tested_at=ago(20))
    now = make_run("failed", organization=organization, tested_at=ago(10))
    text = markup(alices.get(reverse("run", args=[organization.slug, now.pk])))
    assert comparison(organization, now, failing) in text
    assert comparison(organization, now, passing) in text
    first = markup(alices.get(reverse("run", args=[organization.slug, passing.pk])))
    assert "first conclusive run" in first


def test_failures_come_before_the_rest_and_say_what_differed(
    alices: Client, organization: Organization, context: AgentContext
) -> None:
    before = make_run(organization=organization, report=make_report("failed", "passed", "passed"), tested_at=ago(20))
    after = make_run(
        organization=organization,
        report=replace(make_report("passed", "failed", "passed"), engine_version="1.1"),
        tested_at=ago(10),
    )
    text = markup(alices.get(comparison(organization, after, before)))
    changes = text[text.index('id="around"') :]
    assert changes.index("Newly failing") < changes.index("Check 1") < changes.index("Fixed") < changes.index("Check 0")
    assert "The way it was tested changed" in text
    assert "baseline 1.1" in text
    assert comparison(organization, before, after) in text  # swapped


def test_swapped_runs_are_not_called_earlier_and_later(
    alices: Client, organization: Organization, context: AgentContext
) -> None:
    before = make_run("passed", organization=organization, tested_at=ago(20))
    after = make_run("failed", organization=organization, tested_at=ago(10))
    text = markup(alices.get(comparison(organization, before, after)))
    assert "the first of the two is the later one" in text
    assert "Failed in the first run and pass in the second." in text
    assert not re.search(">(Earlier|Later)", text)


def test_an_agent_that_was_not_seen_is_not_said_to_have_changed(
    alices: Client, organization: Organization, context: AgentContext
) -> None:
    seen = replace(make_report("passed"), observations={"server_version": "2", "official_counts": "1", "memory_mb": 9})
    down = replace(make_report("failed"), observations={"official_counts": "0", "memory_mb": 12})
    before = make_run(organization=organization, report=seen, tested_at=ago(20))
    after = make_run(organization=organization, report=down, tested_at=ago(10))
    text = markup(alices.get(comparison(organization, after, before)))
    assert "The agent changed" not in text
    assert "Seen in one run only" in text
    assert "Memory" not in text
    assert "Official counts" not in text


def test_two_runs_that_agree_say_so(alices: Client, organization: Organization, context: AgentContext) -> None:
    before = make_run(organization=organization, tested_at=ago(20))
    after = make_run(organization=organization, tested_at=ago(10))
    text = markup(alices.get(comparison(organization, after, before)))
    assert "Every check has the same verdict in both runs." in text
    assert "Nothing known differs" in text


def test_another_organizations_run_is_not_compared(
    alices: Client, organization: Organization, context: AgentContext, other_context: AgentContext
) -> None:  # I5
    mine = make_run(organization=organization)
    theirs = make_run("failed", organization=other_context.organization)
    missing = reverse("compare", args=[organization.slug, mine.pk, "0190a3b4-0000-7000-8000-000000000000"])
    unknown = alices.get(missing)
    for address in (comparison(organization, mine, theirs), comparison(organization, theirs, mine)):
        answer = alices.get(address)
        assert answer.status_code == 404
        assert answer.content == unknown.content
    assert alices.get(reverse("compare_pick", args=[organization.slug, theirs.pk])).status_code == 404


def test_choosing_offers_every_run_of_the_agent_but_itself(
    alices: Client, organization: Organization, context: AgentContext, queries: Any
) -> None:
    runs = [make_run(organization=organization, tested_at=ago(number)) for number in range(60)]
    beat = make_run()
    address = reverse("compare_pick", args=[organization.slug, runs[0].pk])
    alices.get(address)
    with queries() as asked:
        text = markup(alices.get(address))
    assert len(asked) <= 12
    assert comparison(organization, runs[0], runs[1]) in text
    assert comparison(organization, runs[0], beat) in text
    assert comparison(organization, runs[0], runs[0]) not in text
    assert "Older →" in text
    assert "to choose from on this page" in text


def test_a_run_without_others_has_none_to_choose(
    alices: Client, organization: Organization, context: AgentContext
) -> None:
    run = make_run(organization=organization)
    text = markup(alices.get(reverse("compare_pick", args=[organization.slug, run.pk])))
    assert "The agent has no other run that you may see." in text
    assert "0 runs to choose from" in text


def test_a_flaky_step_is_marked_with_its_figures(
    alices: Client, organization: Organization, context: AgentContext
) -> None:
    for number in range(6):
        run = make_run(
            "passed" if number % 2 else "failed", "passed", organization=organization, tested_at=ago(60 - number)
        )
    text = markup(alices.get(reverse("run", args=[organization.slug, run.pk])))
    assert "Flaky: changed 5 of 5 times" in text
    assert text.count("Flaky:") == 1


def two_hundred_steps() -> Report:
    evidence = Evidence({"method": "GET", "url": "https://a.example"}, {"status": 500, "body": "x" * 500})
    scenarios = tuple(
        Scenario(
            f"a/{number}",
            f"Scenario {number}",
            tuple(
                Step(f"s{step}", f"Step {step}", Verdict.FAILED if step % 2 else Verdict.PASSED, evidence=evidence)
                for step in range(10)
            ),
        )
        for number in range(20)
    )
    return Report("baseline", "1.0", "baseline", "mcp", "1", (Track("t", "T", scenarios),), duration_ms=5)


def test_a_run_of_200_steps_takes_few_queries_and_no_evidence(
    alices: Client, organization: Organization, context: AgentContext, queries: Any
) -> None:
    for number in range(25):
        run = make_run(organization=organization, report=two_hundred_steps(), tested_at=ago(60 - number))
    address = reverse("run", args=[organization.slug, run.pk])
    alices.get(address)
    with queries() as asked:
        text = markup(alices.get(address))
    assert len(asked) <= 13, "\n".join(q[:150] for q in asked)
    assert text.count("Evidence: request and response") == 200
    assert "x" * 500 not in text
