"""The decisions about monitors' runs."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from django.db import models
from django.db.models import Q
from django.utils.timezone import now as time_now

from compliance.jobs.models import Job
from compliance.monitors import functions
from compliance.registry.models import has_agent
from compliance.tenancy.ids import uuid7
from compliance.tenancy.rls import APP, OWNER, PLATFORM, Policy, RowLevelSecurity, isolated, staff_everything
from compliance.tenancy.schema import Privileges, deleted_when_old, insert_only


class Outcome(models.TextChoices):
    """What an evaluation came to: a job, or the first gate that stopped it (G1)."""

    ALLOWED = "allowed", "Allowed"
    NO_AGENT = "no_agent", "No such agent"
    ARCHIVED = "archived", "Archived"
    PAUSED = "paused", "Paused"
    OPTED_OUT = "opted_out", "Opted out"
    CONCURRENCY = "concurrency", "Too many at once"
    COOLDOWN = "cooldown", "Too soon"
    DEFERRED = "deferred", "Waits for its runner"
    UNAVAILABLE = "unavailable", "Suite not available"
    BUDGET = "budget", "Budget used up"
    CANCELLED = "cancelled", "Cancelled"
    PARKED = "parked", "Parked"
    STOPPED = "stopped", "Paused after failures"
    FAILED = "failed", "Could not be decided"


# Refused for want of capacity, which comes back by itself (Q1).
FOR_CAPACITY = (Outcome.CONCURRENCY, Outcome.COOLDOWN, Outcome.BUDGET)
# Why a heartbeat that was due was not made.
SKIPPED = (Outcome.ARCHIVED, Outcome.PAUSED, Outcome.OPTED_OUT)
NOT_ALLOWED = "not_allowed"  # asks for every outcome but ALLOWED


class MonitorDecisionQuerySet(models.QuerySet["MonitorDecision"]):
    def narrowed(
        self,
        *,
        monitor_id: UUID | None = None,
        outcome: str = "",
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> MonitorDecisionQuerySet:
        """Only those of a monitor, with an outcome (or NOT_ALLOWED), at or after `since` and before `until`."""
        decisions = self.filter(monitor_id=monitor_id) if monitor_id else self
        if outcome == NOT_ALLOWED:
            decisions = decisions.exclude(outcome=Outcome.ALLOWED)
        elif outcome:
            decisions = decisions.filter(outcome=outcome)
        decisions = decisions.filter(at__gte=since) if since else decisions
        return decisions.filter(at__lt=until) if until else decisions


class MonitorDecision(models.Model):
    """One evaluation of one monitor: what was decided and why. Insert-only."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    # No foreign keys: the record outlives what it names.
    organization_id = models.CharField(
        max_length=68, db_comment="No foreign key on purpose: see agent_compliance_runs.triggered_org_id."
    )
    at = models.DateTimeField(default=time_now)
    monitor_id = models.UUIDField()
    monitor_name = models.CharField(max_length=100, help_text="As it was called then.")
    agent_url = models.TextField()
    scheduled_for = models.DateTimeField(null=True, help_text="The occurrence; none when somebody asked.")
    outcome = models.CharField(max_length=14, choices=Outcome.choices)
    reason = models.CharField(max_length=300, blank=True)
    job_id = models.UUIDField(null=True)
    actor_kind = models.CharField(max_length=10)
    actor_id = models.CharField(max_length=100)
    actor_name = models.CharField(max_length=254)

    objects = MonitorDecisionQuerySet.as_manager()

    # What a list shows of others; decision_page fills it in.
    context_id: UUID | None  # None: the organization no longer has the agent
    agent_name: str
    job: Job | None  # None: no job, or one that is no longer kept
    run_id: UUID | None
    run_status: str | None  # None: no run came of it, or not yet

    class Meta:
        db_table = "monitor_decisions"
        constraints = [
            models.CheckConstraint(condition=Q(outcome__in=Outcome.values), name="decision_outcome_known"),
            models.CheckConstraint(
                condition=Q(outcome="allowed", job_id__isnull=False) | (~Q(outcome="allowed") & Q(job_id__isnull=True)),
                name="decision_job_iff_allowed",
            ),
            isolated(Policy("forgetting", to=OWNER, using="at < (now() - interval '7 days')", check="false")),
            Privileges(app="SELECT, INSERT", staff="SELECT"),
            insert_only("UPDATE OR TRUNCATE"),
            deleted_when_old(),
            functions.FORGET_DECISIONS,
        ]
        indexes = [
            models.Index(fields=["organization_id", "-at", "-id"], name="decisions_newest"),
            models.Index(fields=["organization_id", "monitor_id", "-at", "-id"], name="decisions_of_monitor"),
            models.Index(fields=["-at", "-id"], name="decisions_newest_of_all"),
        ]

    def __str__(self) -> str:
        return f"{self.monitor_name}: {self.get_outcome_display()}"


class HeartbeatDecisionQuerySet(models.QuerySet["HeartbeatDecision"]):
    def newest_of(self, agent_url: str) -> HeartbeatDecisionQuerySet:
        """An agent's, the newest first."""
        return self.filter(agent_url=agent_url).order_by("-at", "-id")


class HeartbeatDecision(models.Model):
    """One heartbeat that was due and was not made, and why (Q3). Insert-only; one that is made is on record as a job.

    Of an agent, and of no organization: each that has the agent may read it.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    at = models.DateTimeField(default=time_now)
    # No foreign key: the record outlives what it names.
    agent_url = models.TextField("agent")
    scheduled_for = models.DateTimeField()
    outcome = models.CharField(max_length=14, choices=Outcome.choices)
    reason = models.CharField(max_length=300)

    objects = HeartbeatDecisionQuerySet.as_manager()

    class Meta:
        db_table = "heartbeat_decisions"
        verbose_name = "skipped heartbeat"
        constraints = [
            models.CheckConstraint(condition=Q(outcome__in=SKIPPED), name="heartbeat_decision_outcome_known"),
            RowLevelSecurity(
                [
                    Policy("readers", to=APP, for_="SELECT", using=f"{PLATFORM} OR {has_agent('heartbeat_decisions')}"),
                    Policy("deciding", to=APP, for_="INSERT", check=PLATFORM),
                    Policy("forgetting", to=OWNER, using="at < (now() - interval '7 days')", check="false"),
                    staff_everything(),
                ]
            ),
            Privileges(app="SELECT, INSERT", staff="SELECT"),
            insert_only("UPDATE OR TRUNCATE"),
            deleted_when_old(),
        ]
        indexes = [
            models.Index(fields=["agent_url", "-at", "-id"], name="heartbeat_decisions_of_agent"),
            models.Index(fields=["-at", "-id"], name="heartbeat_decisions_newest"),
        ]

    def __str__(self) -> str:
        return f"{self.agent_url}: {self.get_outcome_display()}"
