"""What may be added, changed and deleted on the staff site at all, whoever one is, and which fields of it."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.urls import reverse

from compliance.jobs.actions import request_owner_test
from compliance.models import (
    Agent,
    AgentContext,
    ApiKey,
    ComplianceRun,
    EngineHealth,
    HeartbeatDecision,
    Invitation,
    Job,
    Membership,
    Monitor,
    MonitorDecision,
    Organization,
    Role,
    Runner,
    Suite,
    SuiteVersion,
    SystemScopeUse,
    TickPhase,
    User,
)
from compliance.monitors import liveness
from compliance.monitors.actions import run_monitor_now
from compliance.runners.actions import create_runner
from compliance.suites.health import record_engine_health
from compliance.tenancy.actions import invite
from compliance.tenancy.scope import Actor, system_scope
from compliance.webhooks.actions import take_delivery
from compliance.webhooks.models import WebhookDelivery
from tests.compliance.monitors.conftest import make_monitor, skip_heartbeat
from tests.conftest import AGENT_URL, make_run
from tests.dashboard.staff.conftest import REASON

DECIDED: dict[Any, set[str]] = {
    Organization: {"change", "delete"},  # who creates one is its owner
    Membership: {"add", "change", "delete"},
    Invitation: {"delete"},  # an address of their own would be all that somebody needs to invite themselves
    User: {"change"},  # people sign up by themselves, and an organization could be left without an owner
    Agent: {"change"},
    AgentContext: set(),  # by actions that ask first
    Job: set(),
    ComplianceRun: set(),
    Suite: set(),
    SuiteVersion: set(),
    SystemScopeUse: set(),
    Monitor: set(),
    MonitorDecision: set(),
    HeartbeatDecision: set(),
    TickPhase: set(),
    EngineHealth: set(),  # what workers say
    Runner: set(),  # their organization's
    ApiKey: set(),
    WebhookDelivery: set(),
}


@pytest.fixture
def keys(organization: Organization, context: AgentContext, alice: User, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The key of a row of each model; of members, one who may go."""
    monkeypatch.setattr("compliance.celery.app.send_task", lambda name, args: None)
    make_run()
    record_engine_health("hosted@one")
    invite(organization=organization, email="dana@example.org", role=Role.MEMBER, by=alice)
    request_owner_test(organization=organization, context_id=context.pk, by=alice)
    monitor = make_monitor(organization, context, alice)
    run_monitor_now(organization=organization, monitor_id=monitor.pk, by=alice)
    create_runner(organization=organization, name="lab", by=alice)  # with its API key
    take_delivery(source="registry", delivery_id="msg_1", kind="agent.deployed", agent_url=AGENT_URL)
    liveness.begin("monitors")
    skip_heartbeat(AGENT_URL)
    with system_scope(by=Actor.system("tests"), reason="find rows"):
        found = {model: model._default_manager.order_by("pk").values_list("pk", flat=True)[0] for model in DECIDED}
        return {**found, Membership: Membership.objects.get(role=Role.MEMBER).pk, User: alice.pk}


def allowed(client: Any, keys: Any) -> dict[Any, set[str]]:
    """What the pages let one do. A change is posted with nothing in it, which is refused as a form, not as a wish."""
    found: dict[Any, set[str]] = {}
    for model, key in keys.items():
        stem = f"admin:compliance_{model._meta.model_name}"
        answers = {
            "add": client.get(reverse(f"{stem}_add")),
            "change": client.post(reverse(f"{stem}_change", args=[admin.utils.quote(key)]), {}),
            "delete": client.get(reverse(f"{stem}_delete", args=[admin.utils.quote(key)])),
        }
        assert {answer.status_code for answer in answers.values()} <= {200, 302, 403}, model
        found[model] = {name for name, answer in answers.items() if answer.status_code != 403}
    return found


def as_ordinary_staff(client: Any, staff_user: User, *permissions: str) -> Any:
    staff_user.is_superuser = False
    staff_user.save()
    staff_user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client.force_login(staff_user)
    client.post("/staff/reason/", {"reason": REASON})
    return client


def test_a_superuser_does_what_was_decided_and_no_more(staff: Any, keys: Any) -> None:  # R1
    assert set(admin.site._registry) == set(DECIDED)
    assert allowed(staff, keys) == DECIDED


def test_ordinary_staff_do_nothing_of_it(client: Any, staff_user: User, keys: Any) -> None:
    assert allowed(as_ordinary_staff(client, staff_user), keys) == {model: set() for model in DECIDED}


def fields_of(client: Any, model: Any, key: Any) -> set[str]:
    page = client.get(reverse(f"admin:compliance_{model._meta.model_name}_change", args=[admin.utils.quote(key)]))
    return set(page.context["adminform"].form.fields)


def test_only_these_fields_can_be_changed(staff: Any, keys: Any) -> None:
    assert {model: fields_of(staff, model, keys[model]) for model, ways in DECIDED.items() if "change" in ways} == {
        Organization: {"name"},  # links name its address part, and runs its key
        Membership: {"role"},
        User: {"name", "is_active", "is_staff", "is_superuser"},
        Agent: {"lifecycle_stage", "heartbeat_interval_hours", "paused", "opted_out", "max_at_once"},
    }


def test_nobody_switches_themselves(staff: Any, staff_user: User) -> None:
    assert fields_of(staff, User, staff_user.pk) == {"name"}


def test_who_may_change_people_makes_nobody_staff(client: Any, staff_user: User, alice: User) -> None:
    ordinary = as_ordinary_staff(client, staff_user, "change_user")
    assert fields_of(ordinary, User, alice.pk) == {"name", "is_active"}


def actions_of(client: Any, model: Any) -> set[str]:
    page = client.get(reverse(f"admin:compliance_{model._meta.model_name}_changelist"))
    form = page.context["action_form"]
    return {name for name, _ in form.fields["action"].choices if name} if form else set()


def test_actions_on_chosen_rows_are_these_and_need_the_right_to_change(
    client: Any, staff: Any, staff_user: User, keys: Any
) -> None:
    assert {model: names for model in DECIDED if (names := actions_of(staff, model))} == {
        User: {"reset_two_factor"},
        Agent: {"test_now", "pause", "resume"},
        AgentContext: {"mark_verified_owner", "unmark_verified_owner"},
        Job: {"cancel"},
    }
    ordinary = as_ordinary_staff(client, staff_user)
    assert {model: names for model in DECIDED if (names := actions_of(ordinary, model))} == {}
