"""What: agents, known by URL, and each organization's relation to them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models.functions import Length
from django.utils import timezone

from compliance.registry import functions
from compliance.registry.urls import MAX_LENGTH
from compliance.tenancy.ids import uuid7
from compliance.tenancy.models import Organization
from compliance.tenancy.rls import (
    APP,
    ORGANIZATION,
    OWNER,
    PLATFORM,
    Policy,
    RowLevelSecurity,
    own_rows,
    owner_reads,
    staff_everything,
)
from compliance.tenancy.schema import Privileges

models.TextField.register_lookup(Length)


def has_agent(table: str, relation: str = "") -> str:
    """The condition of a policy: the organization has the agent of a row. relation: and has it so."""
    more = f" AND c.relation = '{relation}'" if relation else ""
    return (
        f"EXISTS (SELECT 1 FROM agent_contexts c WHERE c.organization_id = {ORGANIZATION}"  # noqa: S608 - our own names
        f" AND c.agent_url = {table}.agent_url{more})"
    )


class Protocol(models.TextChoices):
    UNKNOWN = "", "Not found yet"
    MCP = "mcp", "MCP"
    A2A = "a2a", "A2A"


class LifecycleStage(models.TextChoices):
    DEVELOPMENT = "development", "Development"
    TESTING = "testing", "Testing"
    PRODUCTION = "production", "Production"
    RETIRED = "retired", "Retired"


HEARTBEAT_STAGES = (LifecycleStage.TESTING, LifecycleStage.PRODUCTION)
MIN_INTERVAL_HOURS, MAX_INTERVAL_HOURS = 6, 168
MAX_AT_ONCE = 1000


_SKIPPED = models.Q(registrations__gt=0) & (
    models.Q(paused=True) | models.Q(opted_out=True) | models.Q(lifecycle_stage=LifecycleStage.RETIRED)
)


class AgentQuerySet(models.QuerySet["Agent"]):
    def with_heartbeats(self) -> AgentQuerySet:
        """Agents that the platform checks by itself."""
        return self.filter(registrations__gt=0, paused=False, opted_out=False, lifecycle_stage__in=HEARTBEAT_STAGES)

    def due(self, now: datetime) -> AgentQuerySet:
        """Agents whose heartbeat should begin by now, the longest due first."""
        return self.with_heartbeats().filter(next_heartbeat_at__lte=now).order_by("next_heartbeat_at", "agent_url")

    def skipped(self, now: datetime) -> AgentQuerySet:
        """Agents whose heartbeat would be due, had its owner, or staff, not paused, opted out or retired it."""
        return self.filter(_SKIPPED, next_heartbeat_at__lte=now).order_by("next_heartbeat_at", "agent_url")

    def overdue(self, now: datetime) -> AgentQuerySet:
        """Agents whose heartbeat should have ended long ago: something of ours is wrong."""
        return self.due(now - timedelta(minutes=settings.HEARTBEAT_OVERDUE_AFTER_MINUTES))


class Agent(models.Model):
    """An endpoint under test. Belongs to nobody; seen by the organizations that registered it."""

    agent_url = models.TextField("address", primary_key=True)
    protocol = models.CharField(max_length=10, choices=Protocol.choices, default=Protocol.UNKNOWN, blank=True)
    protocol_note = models.CharField(max_length=300, blank=True, help_text="What the agent said when it was asked.")
    lifecycle_stage = models.CharField(max_length=12, choices=LifecycleStage.choices, default=LifecycleStage.PRODUCTION)
    heartbeat_interval_hours = models.PositiveSmallIntegerField(
        default=settings.HEARTBEAT_DEFAULT_INTERVAL_HOURS,
        validators=[MinValueValidator(MIN_INTERVAL_HOURS), MaxValueValidator(MAX_INTERVAL_HOURS)],
    )
    opted_out = models.BooleanField("opted out of heartbeats", default=False)
    paused = models.BooleanField("heartbeats paused", default=False)
    max_at_once = models.PositiveSmallIntegerField(
        "tests at once",
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(MAX_AT_ONCE)],
        help_text="Of all organizations and heartbeats together. Empty: no limit.",
    )
    # Kept by a trigger: how many organizations have the agent. An agent that nobody has is not checked.
    registrations = models.PositiveIntegerField(default=0, editable=False)
    next_heartbeat_at = models.DateTimeField(default=timezone.now)
    last_checked_at = models.DateTimeField(null=True, blank=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = AgentQuerySet.as_manager()

    class Meta:
        db_table = "agents"
        constraints = [
            models.CheckConstraint(
                condition=models.Q(agent_url__length__lte=MAX_LENGTH)
                & models.Q(agent_url__regex=r"^https?://[^/@\s]+/"),
                name="agent_url_shape",
            ),
            models.CheckConstraint(
                condition=models.Q(
                    heartbeat_interval_hours__gte=MIN_INTERVAL_HOURS, heartbeat_interval_hours__lte=MAX_INTERVAL_HOURS
                ),
                name="agent_interval_range",
            ),
            models.CheckConstraint(
                condition=models.Q(lifecycle_stage__in=LifecycleStage.values), name="agent_lifecycle_stage_known"
            ),
            models.CheckConstraint(
                condition=models.Q(max_at_once__isnull=True)
                | models.Q(max_at_once__gte=1, max_at_once__lte=MAX_AT_ONCE),
                name="agent_max_at_once_range",
            ),
            models.CheckConstraint(condition=models.Q(protocol__in=Protocol.values), name="agent_protocol_known"),
            # It belongs to nobody; its address may be a secret of those who registered it.
            RowLevelSecurity(
                [
                    Policy("registered_agents", to=APP, for_="SELECT", using=f"{PLATFORM} OR {has_agent('agents')}"),
                    Policy("registering", to=APP, for_="INSERT", check=f"{PLATFORM} OR {ORGANIZATION} IS NOT NULL"),
                    Policy(
                        "verified_owner_decides",
                        to=APP,
                        for_="UPDATE",
                        using=f"{PLATFORM} OR {has_agent('agents', 'verified_owner')}",
                        check=f"{PLATFORM} OR {has_agent('agents', 'verified_owner')}",
                    ),
                    staff_everything(),
                    Policy("registrations", to=OWNER, using="true", check="true"),
                ]
            ),
            Privileges(app="SELECT, INSERT, UPDATE", staff="SELECT, INSERT, UPDATE"),
            functions.HEARTBEAT_SLOT,
        ]
        indexes = [
            models.Index(
                fields=["next_heartbeat_at", "agent_url"],
                name="agents_due",
                condition=models.Q(
                    registrations__gt=0, paused=False, opted_out=False, lifecycle_stage__in=HEARTBEAT_STAGES
                ),
            ),
            models.Index(fields=["next_heartbeat_at", "agent_url"], name="agents_skipped", condition=_SKIPPED),
        ]

    def __str__(self) -> str:
        return self.agent_url

    @property
    def has_heartbeats(self) -> bool:
        return not self.paused and not self.opted_out and self.lifecycle_stage in HEARTBEAT_STAGES

    @property
    def is_overdue(self) -> bool:
        late = timezone.now() - timedelta(minutes=settings.HEARTBEAT_OVERDUE_AFTER_MINUTES)
        return self.has_heartbeats and self.next_heartbeat_at <= late


class HeartbeatSlot(models.Func):
    """HeartbeatSlot(agent_url, interval_hours, after): the agent's first slot after an instant.

    An agent's slots are an interval apart and begin at an offset that its URL's hash decides,
    which spreads the agents over the whole interval.
    """

    function = "heartbeat_slot"
    output_field = models.DateTimeField()


class Relation(models.TextChoices):
    OBSERVER = "observer", "Observer"
    VERIFIED_OWNER = "verified_owner", "Verified owner"


class AgentContextQuerySet(models.QuerySet["AgentContext"]):
    def of(self, organization_id: str, context_id: UUID) -> AgentContext:
        """One of an organization's contexts. Raises AgentContext.DoesNotExist."""
        return self.get(organization_id=organization_id, pk=context_id)

    def by_address(self, organization_id: str, agent_urls: Iterable[str]) -> dict[str, AgentContext]:
        """An organization's contexts of these agents, by the agent's URL."""
        found = self.filter(organization_id=organization_id, agent_id__in=[*agent_urls])
        return {context.agent_id: context for context in found}


class AgentContext(models.Model):
    """One organization's relation to an agent."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="agent_contexts")
    agent = models.ForeignKey(
        Agent, on_delete=models.PROTECT, related_name="contexts", db_column="agent_url", to_field="agent_url"
    )
    name = models.CharField(max_length=100)
    # Only staff may set verified_owner: a trigger refuses the app role.
    relation = models.CharField(max_length=14, choices=Relation.choices, default=Relation.OBSERVER)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = AgentContextQuerySet.as_manager()

    class Meta:
        db_table = "agent_contexts"
        constraints = [
            models.UniqueConstraint(fields=["organization", "agent"], name="one_context_per_agent"),
            models.CheckConstraint(condition=models.Q(relation__in=Relation.values), name="context_relation_known"),
            models.UniqueConstraint(fields=["id", "organization"], name="agent_contexts_of_organization"),
            RowLevelSecurity(
                [
                    own_rows(),
                    staff_everything(),
                    owner_reads("finding_heartbeats", "relation = 'verified_owner'"),
                ]
            ),
            functions.GUARD_CONTEXT,
            functions.COUNT_REGISTRATIONS,
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def agent_url(self) -> str:
        return self.agent_id

    @property
    def is_verified_owner(self) -> bool:
        return self.relation == Relation.VERIFIED_OWNER
