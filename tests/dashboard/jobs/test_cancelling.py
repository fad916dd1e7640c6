"""Ending a test on its page."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.urls import reverse

from compliance.jobs.actions import request_owner_test
from compliance.jobs.completion import complete_job
from compliance.jobs.leases import LeaseLost
from compliance.jobs.queue import lease_job
from compliance.models import AgentContext, ComplianceRun, Job, Organization, User
from compliance.monitors.tick import create_due_monitor_jobs
from compliance.tenancy.scope import organization_scope
from tests.compliance.monitors.conftest import finish, jobs_of, make_due, make_monitor
from tests.compliance.runners.conftest import job_row
from tests.conftest import make_report
from tests.dashboard.jobs.test_placement import expire
from tests.dashboard.pages import markup


def at(name: str, organization: Organization, *args: Any) -> str:
    return reverse(name, args=[organization.slug, *args])


@pytest.fixture
def bobs(reader: Any, bob: User) -> Client:
    return reader(bob)


@pytest.fixture
def wanted(organization: Organization, context: AgentContext, alice: User) -> Job:
    return request_owner_test(organization=organization, context_id=context.pk, by=alice)[0]


@pytest.fixture
def of_monitor(organization: Organization, context: AgentContext, alice: User) -> Job:
    make_due(make_monitor(organization, context, alice))
    create_due_monitor_jobs()
    [wanted] = jobs_of(organization)
    return wanted


def title_of(page: str) -> str:
    return page.split("<title>")[1].split("</title>")[0]


def test_a_member_cancels_what_waits_with_one_press(bobs: Client, organization: Organization, wanted: Job) -> None:
    page = markup(bobs.get(at("job", organization, wanted.pk)))
    assert "Test under way" in title_of(page)
    cancelling = at("job_cancel", organization, wanted.pk)
    assert f'action="{cancelling}"' in page
    assert "It ends without a run, and nothing goes into the history." in page
    page = markup(bobs.post(cancelling, follow=True))
    kept = job_row(organization, wanted.pk)
    assert (kept.state, kept.end_reason) == ("cancelled", "Cancelled by Bob Member.")
    assert "The test is cancelled." in page
    assert "Test cancelled" in title_of(page)
    main = page.split("<main")[1].split("</main>")[0]
    assert "under way" not in main
    assert cancelling not in main
    assert "Cancelled by Bob Member." in main


def test_what_runs_is_stopped_once_that_is_confirmed(
    bobs: Client, organization: Organization, wanted: Job
) -> None:  # L5
    lease = lease_job(wanted.pk, organization.id)
    assert lease is not None
    page = markup(bobs.get(at("job", organization, wanted.pk)))
    assert "You are asked first if it runs by then." in page
    cancelling = at("job_cancel", organization, wanted.pk)
    asked = bobs.post(cancelling)
    assert asked.status_code == 200
    assert "Stop this test?" in markup(asked)
    assert "what came of it so far is discarded" in markup(asked)
    assert job_row(organization, wanted.pk).state == "leased"
    assert "The test is cancelled." in markup(bobs.post(cancelling, {"confirmed": "1"}, follow=True))
    assert job_row(organization, wanted.pk).state == "cancelled"
    with pytest.raises(LeaseLost):
        complete_job(lease, make_report())
    with organization_scope(organization.id):
        assert not ComplianceRun.objects.exists()


def test_what_has_ended_stays_as_it_ended(bobs: Client, organization: Organization, wanted: Job) -> None:
    run = finish(wanted)
    answer = bobs.post(at("job_cancel", organization, wanted.pk), follow=True)
    assert answer.redirect_chain[-1][0] == at("run", organization, run.pk)
    assert "The test has ended already." in markup(answer)
    assert job_row(organization, wanted.pk).state == "finished"


def test_what_expired_is_titled_so_and_offers_nothing(bobs: Client, organization: Organization, wanted: Job) -> None:
    expire(wanted)
    page = markup(bobs.get(at("job", organization, wanted.pk)))
    assert "Test expired" in title_of(page)
    assert at("job_cancel", organization, wanted.pk) not in page


def test_opening_the_address_cancels_nothing(bobs: Client, organization: Organization, wanted: Job) -> None:
    assert bobs.get(at("job_cancel", organization, wanted.pk))["Location"] == at("job", organization, wanted.pk)
    assert job_row(organization, wanted.pk).state == "queued"


def test_a_monitors_run_is_for_who_manages(
    bobs: Client, reader: Any, alice: User, organization: Organization, of_monitor: Job
) -> None:
    cancelling = at("job_cancel", organization, of_monitor.pk)
    assert cancelling not in markup(bobs.get(at("job", organization, of_monitor.pk)))
    assert bobs.post(cancelling).status_code == 403
    assert job_row(organization, of_monitor.pk).state == "queued"
    alices = reader(alice)
    assert cancelling in markup(alices.get(at("job", organization, of_monitor.pk)))
    alices.post(cancelling)
    assert job_row(organization, of_monitor.pk).state == "cancelled"


def test_another_organizations_test_is_not_there(
    reader: Any, charlie: User, other_organization: Organization, organization: Organization, wanted: Job
) -> None:  # I5
    theirs = reader(charlie)
    there = theirs.post(at("job_cancel", other_organization, wanted.pk), {"confirmed": "1"})
    nowhere = theirs.post(at("job_cancel", other_organization, uuid4()), {"confirmed": "1"})
    assert there.status_code == nowhere.status_code == 404
    assert there.content == nowhere.content
    assert job_row(organization, wanted.pk).state == "queued"


def test_the_page_of_who_watches_is_opened_anew_when_the_test_ends_without_a_run(
    bobs: Client, organization: Organization, context: AgentContext, wanted: Job
) -> None:
    address = at("job", organization, wanted.pk)

    def polled(on: str) -> Any:
        return bobs.get(address, headers={"HX-Request": "true", "HX-Current-URL": f"http://testserver{on}"})

    assert "HX-Refresh" not in polled(address)
    bobs.post(at("job_cancel", organization, wanted.pk))
    assert polled(address)["HX-Refresh"] == "true"
    elsewhere = polled(at("agent", organization, context.pk))
    assert "HX-Refresh" not in elsewhere
    assert "What became of the test" in markup(elsewhere)
