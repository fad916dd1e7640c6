"""What staff may change, how it asks first, and what is written down of it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.urls import reverse
from django.utils import timezone

from compliance.jobs.actions import request_owner_test
from compliance.jobs.completion import complete_job
from compliance.jobs.leases import LeaseLost
from compliance.jobs.queue import lease_job
from compliance.models import (
    Agent,
    AgentContext,
    ComplianceRun,
    Job,
    JobState,
    Membership,
    Organization,
    Relation,
    Role,
    User,
)
from compliance.tenancy.scope import Actor, organization_scope, system_scope
from tests.conftest import AGENT_URL, add_member, make_context, make_report, make_run, make_user

CONTEXTS = "/staff/compliance/agentcontext/"
JOBS = "/staff/compliance/job/"
AGENTS = "/staff/compliance/agent/"


def press(staff: Any, address: str, action: str, *keys: Any, confirmed: bool = True) -> Any:
    data = {"action": action, "_selected_action": [str(key) for key in keys]}
    if confirmed:
        data["confirmed"] = "yes"
    return staff.post(address, data)


def relation_of(context: AgentContext) -> str:
    with organization_scope(context.organization_id):
        return AgentContext.objects.get(pk=context.pk).relation


def test_marking_a_verified_owner_asks_and_is_logged(staff: Any, context: AgentContext, organization: Any) -> None:
    asked = press(staff, CONTEXTS, "mark_verified_owner", context.pk, confirmed=False)
    assert "Alpha: https://agent.example/mcp" in asked.content.decode()
    assert "move the agent&#x27;s public status" in asked.content.decode()
    assert relation_of(context) == Relation.OBSERVER
    press(staff, CONTEXTS, "mark_verified_owner", context.pk)
    assert relation_of(context) == Relation.VERIFIED_OWNER
    entry = LogEntry.objects.get()
    assert (entry.user.email, entry.change_message) == ("sam@assay.example", "Now: verified owner.")
    press(staff, CONTEXTS, "unmark_verified_owner", context.pk)
    assert relation_of(context) == Relation.OBSERVER


def test_there_is_no_other_way_to_a_verified_owner(staff: Any, context: AgentContext) -> None:
    page = reverse("admin:compliance_agentcontext_change", args=[context.pk])
    assert staff.post(page, {"relation": "verified_owner", "name": "x"}).status_code == 403
    assert staff.post(reverse("admin:compliance_agentcontext_add"), {"relation": "verified_owner"}).status_code == 403
    assert relation_of(context) == Relation.OBSERVER


@pytest.fixture
def job_of_alice(organization: Organization, context: AgentContext, alice: User) -> Job:
    return request_owner_test(organization=organization, context_id=context.pk, by=alice)[0]


def now_of(job: Job) -> Job:
    with system_scope(by=Actor.system("tests"), reason="read a job"):
        return Job.objects.get(pk=job.pk)


def test_cancelling_asks_and_clears_the_lease(staff: Any, job_of_alice: Job) -> None:
    lease = lease_job(job_of_alice.pk, job_of_alice.organization_id)
    assert lease is not None
    asked = press(staff, JOBS, "cancel", job_of_alice.pk, confirmed=False)
    assert "Cancel these jobs?" in asked.content.decode()
    assert now_of(job_of_alice).state == JobState.LEASED
    press(staff, JOBS, "cancel", job_of_alice.pk)
    ended = now_of(job_of_alice)
    assert (ended.state, ended.lease_token, ended.lease_expires_at) == (JobState.CANCELLED, None, None)
    assert ended.finished_at is not None
    with pytest.raises(LeaseLost):
        complete_job(lease, make_report())
    assert LogEntry.objects.get().change_message == "Cancelled."


def test_what_has_ended_is_not_cancelled(staff: Any, job_of_alice: Job) -> None:
    lease = lease_job(job_of_alice.pk, job_of_alice.organization_id)
    assert lease is not None
    complete_job(lease, make_report())
    press(staff, JOBS, "cancel", job_of_alice.pk, uuid4())
    assert now_of(job_of_alice).state == JobState.FINISHED
    assert not LogEntry.objects.exists()


def test_a_lease_is_never_shown(staff: Any, job_of_alice: Job) -> None:
    lease = lease_job(job_of_alice.pk, job_of_alice.organization_id)
    assert lease is not None
    page = staff.get(reverse("admin:compliance_job_change", args=[job_of_alice.pk]))
    assert str(lease.token) not in page.content.decode()


def agent() -> Agent:
    with system_scope(by=Actor.system("tests"), reason="read an agent"):
        return Agent.objects.get(pk=AGENT_URL)


def change_agent(staff: Any, **fields: Any) -> Any:
    data = {"lifecycle_stage": "production", "heartbeat_interval_hours": "12", **fields}
    return staff.post(
        reverse("admin:compliance_agent_change", args=[AGENT_URL.replace("/", "_2F").replace(":", "_3A")]), data
    )


def test_another_interval_moves_the_next_heartbeat_into_its_slots(staff: Any, context: AgentContext) -> None:
    assert change_agent(staff, heartbeat_interval_hours="6").status_code == 302
    changed = agent()
    assert changed.heartbeat_interval_hours == 6
    assert timezone.now() < changed.next_heartbeat_at <= timezone.now() + timedelta(hours=6)
    assert change_agent(staff, heartbeat_interval_hours="5").status_code == 200
    assert agent().heartbeat_interval_hours == 6


def test_pausing_and_resuming(staff: Any, context: AgentContext) -> None:
    press(staff, AGENTS, "pause", AGENT_URL)
    assert agent().paused
    press(staff, AGENTS, "resume", AGENT_URL)
    assert not agent().paused
    messages = LogEntry.objects.order_by("id").values_list("change_message", flat=True)
    assert list(messages) == ["Heartbeats paused.", "Heartbeats resumed."]


def test_due_and_overdue_heartbeats_are_found(staff: Any, organization: Organization, settings: Any) -> None:
    now = timezone.now()
    late = now - timedelta(minutes=settings.HEARTBEAT_OVERDUE_AFTER_MINUTES + 1)
    wanted = {"overdue": late, "due": now - timedelta(minutes=1), "later": now + timedelta(hours=1), "paused": late}
    for name, at in wanted.items():
        make_context(organization, f"https://{name}.example/", name=name)
        with system_scope(by=Actor.system("tests"), reason="arrange"):
            Agent.objects.filter(pk=f"https://{name}.example/").update(next_heartbeat_at=at, paused=name == "paused")

    def found(value: str) -> list[str]:
        response = staff.get(f"{AGENTS}?heartbeat={value}")
        return [row.pk.split("//")[1].split(".")[0] for row in response.context["cl"].result_list]

    assert found("overdue") == ["overdue"]
    assert found("due") == ["overdue", "due"]
    assert found("scheduled") == ["later"]
    assert found("paused") == ["paused"]


def test_deleting_an_organization_says_what_happens_and_keeps_its_runs(  # R11
    staff: Any, organization: Organization, job_of_alice: Job
) -> None:
    run = make_run("passed", organization=organization)
    address = reverse("admin:compliance_organization_delete", args=[organization.pk])
    page = staff.get(address).content.decode()
    assert "2 members" in page
    assert "1 jobs under way" in page
    assert "Its runs stay in the record" in page
    assert staff.post(address, {"post": "yes"}).status_code == 302
    with system_scope(by=Actor.system("tests"), reason="look"):
        assert not Organization.objects.filter(pk=organization.pk).exists()
        assert ComplianceRun.objects.filter(pk=run.pk, triggered_org_id=organization.pk).exists()
    assert LogEntry.objects.get().is_deletion()


def test_staff_too_leave_an_organization_its_last_owner(staff: Any, organization: Organization, alice: User) -> None:
    with organization_scope(organization.id):
        owner = Membership.objects.get(user=alice)
    change = reverse("admin:compliance_membership_change", args=[owner.pk])
    delete = reverse("admin:compliance_membership_delete", args=[owner.pk])
    assert "needs an owner" in staff.post(change, {"role": "member"}).content.decode()
    assert staff.post(delete, {"post": "yes"}).status_code == 403
    second = add_member(organization, make_user("olga@example.org", "Olga"), Role.OWNER)
    assert staff.post(change, {"role": "member"}).status_code == 302
    with organization_scope(organization.id):
        assert [m.pk for m in Membership.objects.filter(role=Role.OWNER)] == [second.pk]
    assert staff.post(delete, {"post": "yes"}).status_code == 302


def test_nobody_makes_themselves_more_powerful(client: Any, staff_user: User, alice: User) -> None:
    helper = make_user("helper@assay.example", "Helper", is_staff=True)
    helper.user_permissions.add(Permission.objects.get(codename="change_user"))
    client.force_login(helper)
    client.post("/staff/reason/", {"reason": "Ticket 4711"})

    def change(user: User, **fields: str) -> int:
        return client.post(reverse("admin:compliance_user_change", args=[user.pk]), fields).status_code

    assert change(alice, name="Alicia", is_active="on", is_staff="on", is_superuser="on") == 302
    alice.refresh_from_db()
    assert (alice.name, alice.is_staff, alice.is_superuser) == ("Alicia", False, False)
    assert change(helper, is_superuser="on") == 403
    assert change(staff_user, name="x") == 403
    TOTP.activate(staff_user, generate_totp_secret())
    TOTP.activate(alice, generate_totp_secret())
    press(client, "/staff/compliance/user/", "reset_two_factor", staff_user.pk, alice.pk)
    assert list(Authenticator.objects.values_list("user__email", flat=True)) == ["sam@assay.example"]


def test_resetting_two_factor_authentication_asks_and_is_logged(staff: Any, alice: User, bob: User) -> None:
    TOTP.activate(alice, generate_totp_secret())
    TOTP.activate(bob, generate_totp_secret())
    asked = press(staff, "/staff/compliance/user/", "reset_two_factor", alice.pk, confirmed=False)
    assert "Reset these people&#x27;s two-factor authentication?" in asked.content.decode()
    assert Authenticator.objects.count() == 2
    assert not LogEntry.objects.exists()
    press(staff, "/staff/compliance/user/", "reset_two_factor", alice.pk)
    assert list(Authenticator.objects.values_list("user__email", flat=True)) == ["bob@example.org"]
    entry = LogEntry.objects.get()
    assert (entry.object_id, entry.change_message) == (str(alice.pk), "Two-factor authentication reset.")


def jobs_of_staff() -> list[Job]:
    with system_scope(by=Actor.system("tests"), reason="look"):
        return list(Job.objects.filter(triggered_by="manual"))


def test_testing_for_the_platform_asks_and_is_logged(staff: Any, context: AgentContext) -> None:
    asked = press(staff, AGENTS, "test_now", AGENT_URL, confirmed=False)
    assert "Test these agents for the platform now?" in asked.content.decode()
    assert AGENT_URL in asked.content.decode()
    assert jobs_of_staff() == []
    press(staff, AGENTS, "test_now", AGENT_URL)
    [job] = jobs_of_staff()
    assert (job.agent_id, job.organization_id, job.actor_kind, job.actor_name) == (AGENT_URL, None, "user", "Sam Staff")
    assert LogEntry.objects.get().change_message == "Test for the platform requested."
    again = press(staff, AGENTS, "test_now", AGENT_URL)
    assert again.status_code == 302
    assert len(jobs_of_staff()) == 1
    assert LogEntry.objects.count() == 1


def test_an_agent_that_takes_no_test_does_not_stop_the_others(
    staff: Any, context: AgentContext, organization: Organization
) -> None:
    other = make_context(organization, "https://other.example/mcp")
    make_context(organization, "https://gone.example/mcp")
    with organization_scope(organization.id):
        AgentContext.objects.get(agent_id="https://gone.example/mcp").delete()
    press(staff, AGENTS, "test_now", "https://gone.example/mcp", AGENT_URL, other.agent_id)
    assert {job.agent_id for job in jobs_of_staff()} == {AGENT_URL, other.agent_id}
    page = staff.get(AGENTS).content.decode()
    assert "No organization has registered https://gone.example/mcp." in page
    assert "Tests requested: 2 of 3." in page


def test_who_may_not_change_agents_tests_none(client: Any, staff_user: User, context: AgentContext) -> None:
    staff_user.is_superuser = False
    staff_user.save()
    client.force_login(staff_user)
    client.post("/staff/reason/", {"reason": "Ticket 4711"})
    assert "Test for the platform now" not in client.get(AGENTS).content.decode()
    press(client, AGENTS, "test_now", AGENT_URL)
    assert jobs_of_staff() == []
    staff_user.user_permissions.set(Permission.objects.filter(codename="change_agent"))
    press(client, AGENTS, "test_now", AGENT_URL)
    assert len(jobs_of_staff()) == 1
