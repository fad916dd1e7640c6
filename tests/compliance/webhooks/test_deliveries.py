"""What comes of a delivery: one job at most, once, for agents that the platform visits."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from compliance.jobs.completion import complete_job
from compliance.jobs.queue import lease_heartbeats
from compliance.models import (
    Agent,
    AgentContext,
    AgentStatus,
    ComplianceRun,
    LifecycleStage,
    Organization,
    Suite,
    User,
    WebhookDelivery,
)
from compliance.monitors.heartbeats import create_due_heartbeats
from compliance.registry.actions import remove_context
from compliance.tenancy.actions import create_organization
from compliance.tenancy.scope import organization_scope, platform_scope
from compliance.webhooks import actions
from compliance.webhooks.actions import take_delivery
from compliance.webhooks.tasks import forget_deliveries
from tests.compliance.webhooks.conftest import Source, deliveries, deployed, platform_jobs, secret_of
from tests.conftest import AGENT_URL, make_context, make_report, make_user
from tests.dashboard.pages import markup
from tests.racing import Meanwhile


def outcome(answer: Any) -> str:
    assert answer.status_code == 202, answer.content
    found: str = json.loads(answer.content)["outcome"]
    return found


def change_agent(**values: Any) -> None:
    with platform_scope():
        Agent.objects.filter(pk=AGENT_URL).update(**values)


def run_what_is_queued(*verdicts: str) -> list[ComplianceRun]:
    return [complete_job(lease, make_report(*verdicts)) for lease in lease_heartbeats(10)]


@pytest.mark.parametrize("kind", ["agent.registered", "agent.updated", "agent.deployed"])
def test_each_kind_of_event_about_an_agent_jobs_a_test(registry: Source, context: AgentContext, kind: str) -> None:
    assert outcome(registry.send(event=deployed(kind=kind))) == "requested"
    [delivery] = deliveries()
    assert (delivery.source, delivery.delivery_id, delivery.kind) == ("registry", "msg_1", kind)
    assert delivery.job_id == platform_jobs()[0].pk


def test_other_events_are_taken_and_ignored_on_record(registry: Source, context: AgentContext) -> None:
    answer = registry.send(event={"type": "invoice.paid", "data": {"agent_url": AGENT_URL, "other": [1]}})
    assert outcome(answer) == "ignored"
    assert [(row.kind, row.outcome, row.agent_url) for row in deliveries()] == [("invoice.paid", "ignored", "")]
    assert platform_jobs() == []


def test_an_address_is_spelt_as_registering_spells_it(registry: Source, context: AgentContext) -> None:
    assert outcome(registry.send(event=deployed("HTTPS://Agent.Example:443/a/../mcp#top"))) == "requested"
    assert deliveries()[0].agent_url == AGENT_URL


def test_the_same_delivery_again_is_answered_the_same_and_does_nothing(registry: Source, context: AgentContext) -> None:
    first = registry.send("msg_1")
    run_what_is_queued()  # even when a new job would have room
    again = registry.send("msg_1", age_seconds=30)
    assert (again.status_code, again.content) == (first.status_code, first.content)
    other_words = registry.send("msg_1", event=deployed("https://other.example/"))
    assert other_words.content == first.content
    assert len(deliveries()) == len(platform_jobs()) == 1


def test_ids_of_two_sources_are_not_the_same_delivery(registry: Source, context: AgentContext) -> None:
    assert outcome(registry.send("msg_1")) == "requested"
    assert outcome(Source("deploys", secret_of("old")).send("msg_1")) == "under_way"
    assert [row.source for row in deliveries()] == ["registry", "deploys"]


def test_at_most_one_test_by_webhooks_is_under_way(registry: Source, context: AgentContext) -> None:
    first = json.loads(registry.send("msg_1").content)
    second = json.loads(registry.send("msg_2").content)
    assert (second["outcome"], second["job_id"]) == ("under_way", first["job_id"])
    assert len(platform_jobs()) == 1


def test_a_heartbeat_under_way_is_another_thing(registry: Source, context: AgentContext) -> None:
    assert create_due_heartbeats() == 1
    assert outcome(registry.send()) == "requested"
    assert [row.triggered_by for row in platform_jobs()] == ["heartbeat", "webhook"]


def test_an_event_starts_no_more_tests_than_the_agents_owner_allows(
    registry: Source, context: AgentContext
) -> None:  # G3
    change_agent(max_at_once=1)
    assert create_due_heartbeats() == 1
    assert outcome(registry.send("msg_1")) == "concurrency"
    run_what_is_queued()
    assert outcome(registry.send("msg_2")) == "requested"


def test_events_in_quick_succession_wait_for_the_cooldown(
    registry: Source, context: AgentContext, settings: Any
) -> None:
    assert outcome(registry.send("msg_1")) == "requested"
    run_what_is_queued()
    assert outcome(registry.send("msg_2")) == "cooldown"
    assert platform_jobs()[0].state == "finished"
    settings.WEBHOOK_COOLDOWN_SECONDS = 0
    assert outcome(registry.send("msg_3")) == "requested"
    assert outcome(registry.send("msg_2")) == "cooldown"  # what was decided stays
    assert len(platform_jobs()) == 2


@pytest.mark.parametrize(
    ("values", "on_record"),
    [
        ({"opted_out": True}, "opted_out"),
        ({"paused": True}, "paused"),
        ({"lifecycle_stage": LifecycleStage.DEVELOPMENT}, "not_visited"),
        ({"lifecycle_stage": LifecycleStage.RETIRED, "paused": True, "opted_out": True}, "not_visited"),
        ({"paused": True, "opted_out": True}, "paused"),
    ],
)
def test_what_heartbeats_do_not_visit_is_not_tested_and_why_is_not_told(
    registry: Source, context: AgentContext, values: dict[str, Any], on_record: str
) -> None:  # G1
    change_agent(**values)
    answer = registry.send("msg_1")
    unknown = registry.send("msg_2", event=deployed("https://unknown.example/"))
    assert json.loads(answer.content) | {"delivery_id": ""} == json.loads(unknown.content) | {"delivery_id": ""}
    assert outcome(answer) == "unknown_agent"
    assert [row.outcome for row in deliveries()] == [on_record, "unknown_agent"]
    assert platform_jobs() == []


def test_an_agent_that_nobody_has_any_more_is_unknown(
    registry: Source, organization: Organization, context: AgentContext, alice: User
) -> None:  # G2
    remove_context(organization=organization, context_id=context.pk, by=alice)
    assert outcome(registry.send()) == "unknown_agent"
    assert platform_jobs() == []


def test_without_a_suite_nothing_is_taken_and_the_source_tries_again(
    registry: Source, context: AgentContext, superuser: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actions, "STATUS_SUITE", "not-published")
    answer = registry.send()
    assert (answer.status_code, deliveries()) == (503, [])
    monkeypatch.undo()
    assert Suite.objects.filter(slug=actions.STATUS_SUITE).exists()


def test_the_run_moves_the_public_status_and_no_schedule_and_no_last_test(
    registry: Source, organization: Organization, context: AgentContext
) -> None:  # L9, R3
    due = timezone.now() + timedelta(hours=3)
    change_agent(next_heartbeat_at=due)
    registry.send()
    [run] = run_what_is_queued("failed")
    assert (run.triggered_by, run.triggered_org_id, run.actor_name) == ("webhook", None, "registry")
    with organization_scope(organization.id):
        agent = Agent.objects.get(pk=AGENT_URL)
        assert (agent.next_heartbeat_at, agent.last_checked_at) == (due, None)
        assert AgentStatus.objects.get(agent_id=AGENT_URL).status == "failing"
        assert ComplianceRun.objects.own(organization.id).count() == 0
        assert ComplianceRun.objects.of_platform().for_agent(AGENT_URL).count() == 1


def test_the_history_and_the_runs_page_name_the_source(
    registry: Source, organization: Organization, context: AgentContext, alice: User, log_in: Any
) -> None:
    registry.send()
    [run] = run_what_is_queued()
    client = log_in(alice)
    base = f"/o/{organization.slug}"
    history = markup(client.get(f"{base}/agents/{context.pk}/history/"))
    assert re.search(r"Webhook ?<span[^>]*> ?registry ?</span>", history)
    assert "after an event from registry" in client.get(f"{base}/runs/{run.pk}/").content.decode()


def test_a_failure_in_between_leaves_neither_delivery_nor_job(
    registry: Source, context: AgentContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(WebhookDelivery.objects, "bulk_create", lambda *_, **__: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        take_delivery(source="registry", delivery_id="msg_1", kind="agent.deployed", agent_url=AGENT_URL)
    monkeypatch.undo()
    assert deliveries() == platform_jobs() == []


# Two at once


def take(delivery_id: str, agent_url: str = AGENT_URL) -> Any:
    return take_delivery(source="registry", delivery_id=delivery_id, kind="agent.deployed", agent_url=agent_url)


@pytest.fixture
def committed_context(committed_db: None) -> AgentContext:
    alice = make_user("alice@example.org", "Alice")
    return make_context(create_organization(name="Alpha", by=alice))


@pytest.mark.parametrize("agent_url", [AGENT_URL, "https://unknown.example/"])
def test_the_same_delivery_twice_at_once_is_one(
    committed_context: AgentContext, superuser: psycopg.Connection[Any], agent_url: str
) -> None:
    with platform_scope():
        first, new = take("msg_1", agent_url)
        beside = Meanwhile(lambda: take("msg_1", agent_url))
        assert beside.waits(superuser)
    second, also_new = beside.outcome()
    assert (new, also_new, second.pk) == (True, False, first.pk)
    assert (second.outcome, second.job_id) == (first.outcome, first.job_id)
    assert len(deliveries()) == 1
    assert len(platform_jobs()) == (1 if agent_url == AGENT_URL else 0)


def test_two_deliveries_at_once_are_one_job(
    committed_context: AgentContext, superuser: psycopg.Connection[Any]
) -> None:  # L1, G5
    with platform_scope():
        first, _ = take("msg_1")
        beside = Meanwhile(lambda: take("msg_2"))
        assert beside.waits(superuser)
    second, _ = beside.outcome()
    assert (first.outcome, second.outcome, second.job_id) == ("requested", "under_way", first.job_id)
    assert len(platform_jobs()) == 1


def test_two_deliveries_at_once_do_not_both_pass_the_cooldown(
    committed_context: AgentContext, superuser: psycopg.Connection[Any]
) -> None:  # G5
    with platform_scope():
        first, _ = take("msg_1")
        beside = Meanwhile(lambda: take("msg_2"))
        assert beside.waits(superuser)
        run_what_is_queued()
    assert (first.outcome, beside.outcome()[0].outcome) == ("requested", "cooldown")
    assert len(platform_jobs()) == 1


def test_a_pause_at_the_same_moment_comes_before_or_after(
    committed_context: AgentContext, superuser: psycopg.Connection[Any]
) -> None:  # G1
    with platform_scope():
        Agent.objects.filter(pk=AGENT_URL).update(paused=True)
        beside = Meanwhile(lambda: take("msg_1"))
        assert beside.waits(superuser)
    assert beside.outcome()[0].outcome == "paused"
    assert platform_jobs() == []


# Keeping and forgetting


def age(superuser: psycopg.Connection[Any], delivery_id: str, days: float) -> None:
    superuser.execute("SET session_replication_role = replica")
    superuser.execute(
        "UPDATE webhook_deliveries SET received_at = now() - make_interval(hours => %s) WHERE delivery_id = %s",
        [int(days * 24), delivery_id],
    )
    superuser.execute("SET session_replication_role = origin")


def test_old_deliveries_are_forgotten_in_batches(
    committed_context: AgentContext, superuser: psycopg.Connection[Any], settings: Any, monkeypatch: Any
) -> None:
    settings.WEBHOOK_RETENTION_DAYS = 30
    monkeypatch.setattr("compliance.database.BATCH", 1)
    for number, days in enumerate((1, 29, 31, 40)):
        take(f"msg_{number}")
        age(superuser, f"msg_{number}", days)
    assert forget_deliveries() == 2
    assert {row.delivery_id for row in deliveries()} == {"msg_0", "msg_1"}
    assert forget_deliveries() == 0


@pytest.mark.parametrize(("days", "rows"), [(6, 1), (3651, 1), (None, 1), (90, 0), (90, 10_001), (90, None)])
def test_the_app_cannot_ask_for_more_than_was_decided(db: None, days: int | None, rows: int | None) -> None:
    with pytest.raises(DatabaseError, match="must be"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT forget_webhook_deliveries(%s::int, %s::int)", [days, rows])


def test_nobody_changes_or_deletes_a_delivery_otherwise(
    registry: Source, context: AgentContext, superuser: psycopg.Connection[Any]
) -> None:
    registry.send()
    for statement in ("DELETE FROM webhook_deliveries", "UPDATE webhook_deliveries SET outcome = 'ignored'"):
        with (
            pytest.raises(DatabaseError, match="permission denied"),
            platform_scope(),
            connection.cursor() as cursor,
        ):
            cursor.execute("SELECT set_config('app.forgetting', 'on', true)")
            cursor.execute(statement)
        with pytest.raises(psycopg.Error, match="insert-only"):
            superuser.execute(statement)
    with organization_scope(context.organization_id):
        assert WebhookDelivery.objects.count() == 0  # I1


@pytest.mark.parametrize(
    "event",
    [
        {"type": "agent.\x00", "data": {}},
        {"type": "agent.deployed", "data": {"agent_url": "https://agent.example/\x00"}},
        {"type": "agent.deployed", "data": {"agent_url": "https://agent.example/\ud800"}},
    ],
)
def test_text_that_the_database_cannot_keep_is_refused(registry: Source, event: Any) -> None:
    answer = registry.send(event=event)
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/invalid")
