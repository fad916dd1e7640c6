"""Writes of the registry: registering, renaming and removing an agent, and its heartbeat settings."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from urllib.parse import urlsplit
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F, QuerySet
from django.utils import timezone

from compliance import engines
from compliance.engines import Limits, Target
from compliance.registry.models import (
    MAX_AT_ONCE,
    MAX_INTERVAL_HOURS,
    MIN_INTERVAL_HOURS,
    Agent,
    AgentContext,
    HeartbeatSlot,
    Protocol,
    Relation,
)
from compliance.registry.unicode_hosts import readable
from compliance.registry.urls import normalize_agent_url, refuse_credentials
from compliance.tenancy.api_keys import Principal
from compliance.tenancy.errors import NotAllowed, Refused
from compliance.tenancy.models import Organization, User
from compliance.tenancy.names import plain_name
from compliance.tenancy.roles import managing_membership
from compliance.tenancy.scope import organization_scope, platform_scope


class AlreadyRegistered(Refused):
    """The organization has this agent; `context` is the one that exists."""

    def __init__(self, context: AgentContext) -> None:
        super().__init__(f"This agent is registered already, as “{context.name}”.")
        self.context = context


def register_agent(*, organization: Organization, url: str, name: str = "", by: Principal) -> AgentContext:
    """Register the agent at `url` with the organization, as an observer.

    name: the organization's name for it; the host and path when empty.
    Raises InvalidAgentURL, NotAllowed, or AlreadyRegistered with the context that exists.
    """
    agent_url = normalize_agent_url(url)
    refuse_credentials(agent_url)
    parts = urlsplit(readable(agent_url))
    shown = plain_name(name) or (parts.netloc + parts.path.rstrip("/"))[:100]
    with organization_scope(organization.id):
        managing_membership(organization.id, by)
        # The agent may exist for others, unseen from here: insert if absent, never look.
        Agent.objects.bulk_create([Agent(agent_url=agent_url)], ignore_conflicts=True)
        try:
            with transaction.atomic():
                return AgentContext.objects.create(organization=organization, agent_id=agent_url, name=shown[:100])
        except IntegrityError:
            existing = AgentContext.objects.filter(organization=organization, agent_id=agent_url).first()
            if existing is None:
                raise
            raise AlreadyRegistered(existing) from None


def rename_context(*, organization: Organization, context_id: UUID | str, name: str, by: User) -> AgentContext:
    """Change the organization's name for an agent. Unknown ids raise AgentContext.DoesNotExist."""
    with organization_scope(organization.id):
        managing_membership(organization.id, by)
        name = plain_name(name)
        if not name:
            raise Refused("Give the agent a name.")
        context = AgentContext.objects.get(organization=organization, pk=context_id)
        context.name = name[:100]
        context.save(update_fields=["name"])
        return context


def remove_context(*, organization: Organization, context_id: UUID | str, by: User) -> None:
    """End the organization's relation to an agent. The runs stay in the record."""
    with organization_scope(organization.id):
        managing_membership(organization.id, by)
        AgentContext.objects.get(organization=organization, pk=context_id).delete()


def change_heartbeats(
    *,
    organization: Organization,
    context_id: UUID | str,
    interval_hours: int,
    lifecycle_stage: str,
    paused: bool,
    opted_out: bool,
    max_at_once: int | None = None,
    by: User,
) -> Agent:
    """Change how often an agent is tested by itself. For the verified owner's owners and admins only.

    interval_hours: 6 to 168; the next heartbeat moves to the next slot of the new interval.
    max_at_once: how many of its tests may run at once, whoever asks; None for any number.
    """
    with organization_scope(organization.id):
        managing_membership(organization.id, by)
        context = AgentContext.objects.select_related("agent").get(organization=organization, pk=context_id)
        if not context.is_verified_owner:
            raise NotAllowed("Only the agent's verified owner decides about its heartbeats.")
        if max_at_once is not None and not 1 <= max_at_once <= MAX_AT_ONCE:
            raise Refused(f"The number of tests at once must be 1 to {MAX_AT_ONCE}, or empty for any number.")
        if not MIN_INTERVAL_HOURS <= interval_hours <= MAX_INTERVAL_HOURS:
            raise Refused(f"The interval must be {MIN_INTERVAL_HOURS} to {MAX_INTERVAL_HOURS} hours.")
        agent = context.agent
        agent.heartbeat_interval_hours = interval_hours
        agent.lifecycle_stage = lifecycle_stage
        agent.paused = paused
        agent.opted_out = opted_out
        agent.max_at_once = max_at_once
        agent.next_heartbeat_at = HeartbeatSlot(F("agent_url"), interval_hours, timezone.now())
        agent.save(
            update_fields=[
                *("heartbeat_interval_hours", "lifecycle_stage", "paused", "opted_out", "max_at_once"),
                "next_heartbeat_at",
            ]
        )
        agent.refresh_from_db()
        return agent


def set_heartbeats(*, agent: Agent, changed: Collection[str]) -> None:
    """Keep what staff changed of an agent, and nothing else: a worker may have moved its schedule meanwhile.

    Called in the staff site's scope, as the two below are.
    """
    if "heartbeat_interval_hours" in changed:
        # Slots are an interval apart: another interval has other slots.
        slot = HeartbeatSlot(F("agent_url"), agent.heartbeat_interval_hours, timezone.now())
        Agent.objects.filter(pk=agent.pk).update(next_heartbeat_at=slot)
    agent.save(update_fields=changed or ["paused"])


def set_paused(*, agents: QuerySet[Agent], paused: bool) -> list[Agent]:
    """Pause or resume heartbeats. Returns the agents for which that is a change."""
    changed = list(agents.filter(paused=not paused))
    Agent.objects.filter(pk__in=[agent.pk for agent in changed]).update(paused=paused)
    return changed


def set_relation(*, contexts: Collection[AgentContext], relation: Relation) -> None:
    """Say whether organizations are verified owners of agents, or observers."""
    AgentContext.objects.filter(pk__in=[context.pk for context in contexts]).update(relation=relation)


def note_protocol(*, agent_url: str, protocol: str, note: str, instead_of: str = Protocol.UNKNOWN) -> None:
    """Keep what the agent answered when it was asked for its protocol. Called by jobs.

    instead_of: what has to be on record; what somebody else found meanwhile stays.
    """
    with platform_scope():
        Agent.objects.filter(pk=agent_url, protocol=instead_of).update(
            protocol=protocol if protocol in Protocol.values else Protocol.UNKNOWN, protocol_note=note[:300]
        )


def detect_protocol(*, agent_url: str) -> None:
    """Ask the agent which protocol it speaks, and keep the answer."""
    target = Target(
        url=agent_url,
        deadline=float(settings.TEST_DEADLINE_SECONDS),
        limits=Limits(step_seconds=float(settings.STEP_TIMEOUT_SECONDS)),
        allow=settings.EGRESS_ALLOW,
    )
    detection = asyncio.run(engines.detect_protocol(target))
    note_protocol(agent_url=agent_url, protocol=detection.protocol, note=detection.reason)
