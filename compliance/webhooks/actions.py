"""Taking deliveries: each is decided about once, and on record with what came of it."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.db.models.functions import Now

from compliance.database import delete_in_batches
from compliance.jobs import dispatch
from compliance.jobs.models import Job
from compliance.jobs.queue import has_room, insert_jobs
from compliance.registry.models import HEARTBEAT_STAGES, Agent
from compliance.registry.urls import normalize_agent_url
from compliance.runs.models import TriggeredBy
from compliance.suites.models import STATUS_SUITE, Suite, SuiteVersion
from compliance.tenancy.scope import Actor, platform_scope
from compliance.webhooks.models import KIND_LENGTH, DeliveryOutcome, WebhookDelivery

ACTED_ON = ("agent.registered", "agent.updated", "agent.deployed")


class NothingToRun(Exception):
    """The suite of the public status is not published: the delivery is not taken, and may come again."""


class _TakenMeanwhile(Exception):
    """The same delivery was taken by somebody else at the same moment."""


def take_delivery(*, source: str, delivery_id: str, kind: str, agent_url: str = "") -> tuple[WebhookDelivery, bool]:
    """Decide about a delivery whose signature was verified, and request the platform's test that follows from it.

    kind: the event's type; those that are not acted on are on record as ignored. agent_url: as it was sent.
    Returns what is on record, and whether it is new: the same delivery again gives the same, and does nothing.
    Raises InvalidAgentURL or NothingToRun; then nothing is on record.
    """
    agent_url = normalize_agent_url(agent_url) if kind in ACTED_ON else ""
    try:
        with platform_scope():
            known = _known(source, delivery_id)
            if known is not None:
                return known, False
            delivery = WebhookDelivery(
                source=source, delivery_id=delivery_id, kind=kind[:KIND_LENGTH], agent_url=agent_url
            )
            delivery.outcome, delivery.job = _decide(delivery)
            # Whoever inserts the same one is waited for: the unique key decides.
            WebhookDelivery.objects.bulk_create([delivery], ignore_conflicts=True)
            known = _known(source, delivery_id)
            if known is None or known.pk != delivery.pk:
                # What was requested for it a moment ago is taken back with the transaction.
                raise _TakenMeanwhile
            if known.outcome == DeliveryOutcome.REQUESTED:
                dispatch.after_commit(dispatch.HEARTBEATS)
            return known, True
    except _TakenMeanwhile:
        with platform_scope():
            known = _known(source, delivery_id)
            assert known is not None
            return known, False


def _known(source: str, delivery_id: str) -> WebhookDelivery | None:
    return WebhookDelivery.objects.filter(source=source, delivery_id=delivery_id).first()


def _decide(delivery: WebhookDelivery) -> tuple[DeliveryOutcome, Job | None]:
    if delivery.kind not in ACTED_ON:
        return DeliveryOutcome.IGNORED, None
    # Locked: so that cooldown and settings are decided about by one delivery after the other.
    agent = Agent.objects.select_for_update(no_key=True).filter(pk=delivery.agent_url, registrations__gt=0).first()
    if agent is None:
        return DeliveryOutcome.UNKNOWN, None
    if agent.lifecycle_stage not in HEARTBEAT_STAGES:
        return DeliveryOutcome.NOT_VISITED, None
    if agent.paused:
        return DeliveryOutcome.PAUSED, None
    if agent.opted_out:
        return DeliveryOutcome.OPTED_OUT, None
    version = _suite_version()
    under_way = _under_way(agent, version)
    if under_way is not None:
        return DeliveryOutcome.UNDER_WAY, under_way
    if _is_cooling_down(agent):
        return DeliveryOutcome.COOLDOWN, None
    if not has_room(agent):
        return DeliveryOutcome.CONCURRENCY, None
    actor = Actor("webhook", delivery.source, delivery.source)
    job = Job(
        agent=agent,
        triggered_by=TriggeredBy.WEBHOOK,
        **actor.as_fields(),
        suite_version=version,
    )
    if not insert_jobs([job]):
        raise AssertionError("somebody requests webhook tests without the agent's lock")
    return DeliveryOutcome.REQUESTED, job


def _suite_version() -> SuiteVersion:
    suite = Suite.objects.with_current_version().filter(slug=STATUS_SUITE).first()
    if suite is None or suite.current_version is None:
        raise NothingToRun
    return suite.current_version


def _under_way(agent: Agent, version: SuiteVersion) -> Job | None:
    return (
        Job.objects.active()
        .filter(agent=agent, suite_version=version, triggered_by=TriggeredBy.WEBHOOK, organization__isnull=True)
        .first()
    )


def _is_cooling_down(agent: Agent) -> bool:
    since = Now() - timedelta(seconds=settings.WEBHOOK_COOLDOWN_SECONDS)
    return WebhookDelivery.objects.filter(
        agent_url=agent.pk, outcome=DeliveryOutcome.REQUESTED, received_at__gt=since
    ).exists()


def forget_old_deliveries() -> int:
    """Delete deliveries that are older than WEBHOOK_RETENTION_DAYS; returns how many. Needs no scope."""
    return delete_in_batches("forget_webhook_deliveries", settings.WEBHOOK_RETENTION_DAYS)
