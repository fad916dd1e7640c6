"""The record: one row a run, insert-only, and the evidence of its steps. Only record_run writes here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.db import models
from django.db.models import Q
from django.utils import timezone

from compliance.engines.reports.model import Overall
from compliance.registry.models import Agent, ExecutorKind, LifecycleStage, Protocol, has_agent
from compliance.runs import functions
from compliance.suites.models import SuiteVersion
from compliance.tenancy.ids import ORGANIZATION_ID_PATTERN, uuid7
from compliance.tenancy.rls import APP, ORGANIZATION, PLATFORM, Policy, RowLevelSecurity, owner_reads, staff_everything
from compliance.tenancy.schema import Privileges, insert_only


class TriggeredBy(models.TextChoices):
    OWNER_TEST = "owner_test", "Owner test"
    OBSERVER_TEST = "observer_test", "Observer test"
    MONITOR = "monitor", "Monitor"
    HEARTBEAT = "heartbeat", "Heartbeat"
    MANUAL = "manual", "Manual"
    WEBHOOK = "webhook", "Webhook"


# R2: these say that an organization caused the run; the others, that none did.
BY_ORGANIZATION = (TriggeredBy.OWNER_TEST, TriggeredBy.OBSERVER_TEST, TriggeredBy.MONITOR)
BY_PLATFORM = (TriggeredBy.HEARTBEAT, TriggeredBy.MANUAL, TriggeredBy.WEBHOOK)


# Report.overall (compliance/engines/reports/model.py) derives it from the verdicts. A docstring would be in the API.
class OverallStatus(models.TextChoices):
    PASSING = Overall.PASSING.value, "Passing"
    PARTIAL = Overall.PARTIAL.value, "Partial"
    FAILING = Overall.FAILING.value, "Failing"
    INCONCLUSIVE = Overall.INCONCLUSIVE.value, "Inconclusive"


NEWEST_FIRST = ("-tested_at", "-id")
_NEWEST_FIRST = (models.F("tested_at").desc(), models.F("id").desc())  # as an index takes it beside other keys


class ComplianceRunQuerySet(models.QuerySet["ComplianceRun"]):
    """Reads of the record. None of them counts history: that would cost O(runs) a page."""

    def own(self, organization_id: str) -> ComplianceRunQuerySet:
        """Runs that the organization caused."""
        return self.filter(triggered_org_id=organization_id)

    def of_platform(self) -> ComplianceRunQuerySet:
        """Runs that no organization caused: heartbeats and the like."""
        return self.filter(triggered_org_id__isnull=True)

    def for_agent(self, agent_url: str) -> ComplianceRunQuerySet:
        return self.filter(agent_url=agent_url)

    def conclusive(self) -> ComplianceRunQuerySet:
        """Runs that say something about their agents: neither dry nor inconclusive."""
        return self.filter(dry_run=False).exclude(overall_status=OverallStatus.INCONCLUSIVE)

    def without_verdict(self) -> ComplianceRunQuerySet:
        """Runs that were to say something about their agents, and do not."""
        return self.filter(dry_run=False, overall_status=OverallStatus.INCONCLUSIVE)

    def statuses_of(self, run_ids: Iterable[UUID]) -> dict[Any, str]:
        """The overall status of each of these runs that may be read."""
        return dict(self.filter(pk__in=[*run_ids]).values_list("pk", "overall_status"))

    def narrow(self) -> ComplianceRunQuerySet:
        """Without the wide columns that only a run's own page shows."""
        return self.defer("tracks_json", "observations", "notices")


class ComplianceRun(models.Model):
    """One finished execution."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    agent_url = models.TextField("agent")
    triggered_by = models.CharField(max_length=16, choices=TriggeredBy.choices)
    triggered_org_id = models.CharField(
        "organization",
        max_length=68,
        null=True,
        blank=True,
        db_comment="The organization that caused the run. No foreign key on purpose: keys can come from a foreign"
        " identity system, and the history outlives an organization.",
    )
    actor_kind = models.CharField(max_length=10)
    actor_id = models.CharField(max_length=100)
    actor_name = models.CharField(max_length=254, help_text="As it was when the run was recorded.")
    executor_kind = models.CharField(max_length=10, choices=ExecutorKind.choices, default=ExecutorKind.HOSTED)
    executor_name = models.CharField(max_length=100, blank=True)
    executor_id = models.UUIDField(
        null=True,
        blank=True,
        help_text="Which private runner. No key: history outlives it.",
        db_comment="The private runner. No foreign key on purpose: history outlives it.",
    )
    # NULL for a run that came from no job. One run per job, whatever is delivered twice.
    job_id = models.UUIDField(null=True, blank=True, unique=True)

    suite_version = models.ForeignKey(SuiteVersion, on_delete=models.PROTECT, related_name="+")
    engine = models.CharField(max_length=60)
    engine_version = models.CharField(max_length=60)
    protocol = models.CharField(max_length=10, blank=True)
    protocol_version = models.CharField(max_length=60, blank=True)
    spec_version = models.CharField(
        max_length=60,
        blank=True,
        default="",
        db_default="",
        help_text="Of the specification that the checks were written against.",
    )
    runtime = models.JSONField(default=dict, db_default=models.Value({}, models.JSONField()), blank=True)
    # Whose secret was used, and what it was called then. No foreign key: history outlives it.
    credential_id = models.UUIDField(null=True, blank=True)
    credential_name = models.CharField(max_length=100, blank=True, default="", db_default="")
    dry_run = models.BooleanField(default=False)
    full_suite = models.BooleanField(
        default=True, help_text="False for a run of some scenarios only: such a run moves no status."
    )
    beside_status = models.BooleanField(
        default=False,
        db_default=False,
        help_text="True for a run of another suite than the one that public status is measured by: it moves no status.",
    )
    by_verified_owner = models.BooleanField(default=False, help_text="As it was when the run was recorded.")
    lifecycle_stage = models.CharField(max_length=12, choices=LifecycleStage.choices)

    requested_at = models.DateTimeField()
    tested_at = models.DateTimeField(help_text="When the execution ended, by the executor's clock.")
    recorded_at = models.DateTimeField(default=timezone.now, editable=False)
    duration_ms = models.PositiveIntegerField()

    overall_status = models.CharField(max_length=14, choices=OverallStatus.choices)
    headline = models.CharField(max_length=300)
    first_track = models.CharField(max_length=150, blank=True)
    passed_count = models.PositiveIntegerField(default=0)
    failed_count = models.PositiveIntegerField(default=0)
    skipped_count = models.PositiveIntegerField(default=0)
    silent_count = models.PositiveIntegerField(default=0)
    not_applicable_count = models.PositiveIntegerField(default=0)
    not_tested_count = models.PositiveIntegerField(default=0)
    truncated = models.BooleanField(default=False)
    harness_error = models.TextField(blank=True)
    tracks_json = models.JSONField(default=list)
    observations = models.JSONField(default=dict)
    notices = models.JSONField(default=list)
    # Whether the run moves the agent's public status, computed by the database from the row itself.
    moves_status = models.GeneratedField(
        expression=models.Case(
            models.When(
                Q(dry_run=False)
                & Q(full_suite=True)
                & Q(beside_status=False)
                & Q(executor_kind="hosted")
                & Q(overall_status__in=["passing", "partial", "failing"])
                & (
                    Q(triggered_by__in=["heartbeat", "manual", "webhook"])
                    | Q(triggered_by="owner_test", by_verified_owner=True)
                ),
                then=models.Value(True),
            ),
            default=models.Value(False),
        ),
        output_field=models.BooleanField(),
        db_persist=True,
    )

    objects = ComplianceRunQuerySet.as_manager()

    class Meta:
        db_table = "agent_compliance_runs"
        verbose_name = "run"
        constraints = [
            models.CheckConstraint(
                condition=Q(triggered_by__in=[*BY_ORGANIZATION], triggered_org_id__isnull=False)
                | Q(triggered_by__in=[*BY_PLATFORM], triggered_org_id__isnull=True),
                name="run_organization_iff_it_caused_it",
            ),
            models.CheckConstraint(
                condition=Q(triggered_org_id__isnull=True) | Q(triggered_org_id__regex=ORGANIZATION_ID_PATTERN),
                name="run_organization_shape",
            ),
            models.CheckConstraint(condition=Q(overall_status__in=OverallStatus.values), name="run_status_known"),
            models.CheckConstraint(condition=Q(executor_kind__in=ExecutorKind.values), name="run_executor_known"),
            models.CheckConstraint(
                condition=Q(executor_kind="hosted") | Q(triggered_org_id__isnull=False),
                name="run_private_executor_has_organization",
            ),
            models.CheckConstraint(
                # R7: a run that was cut short or broke says nothing about the agent.
                condition=Q(truncated=False, harness_error="") | Q(overall_status="inconclusive"),
                name="run_cut_short_is_inconclusive",
            ),
            # Who may read a run: the organization that caused it; of a run with no organization, each that has the
            # agent. CASE and not OR: an OR invites the planner to collect and sort an agent's whole history by both its
            # arms.
            RowLevelSecurity(
                [
                    Policy(
                        "readers",
                        to=APP,
                        for_="SELECT",
                        using=f"CASE WHEN triggered_org_id IS NOT NULL THEN triggered_org_id = {ORGANIZATION}"
                        f" ELSE {PLATFORM} OR {has_agent('agent_compliance_runs')} END",
                    ),
                    Policy(
                        "recording",
                        to=APP,
                        for_="INSERT",
                        check=f"(triggered_org_id = {ORGANIZATION} OR (triggered_org_id IS NULL AND {PLATFORM}))"
                        f" AND (NOT by_verified_owner OR {has_agent('agent_compliance_runs', 'verified_owner')})",
                    ),
                    staff_everything(),
                    owner_reads("projection_reads"),
                ]
            ),
            Privileges(app="SELECT, INSERT", staff="SELECT, INSERT"),
            insert_only(),
            functions.RUN_COUNTERS,
            functions.PROJECT_RUN,
            functions.STATISTICS,
            functions.LAST_TEST_VIEW,
        ]
        indexes = [
            # The last-test view and the strips of recent runs.
            models.Index(
                "triggered_org_id",
                "agent_url",
                *_NEWEST_FIRST,
                name="runs_last_test",
                include=["overall_status"],  # strips of thirty runs for forty agents read the index alone
                condition=Q(triggered_org_id__isnull=False, dry_run=False) & ~Q(overall_status="inconclusive"),
            ),
            # Since when tests came without a verdict, and why.
            models.Index(
                "triggered_org_id",
                "agent_url",
                *_NEWEST_FIRST,
                name="runs_without_verdict",
                condition=Q(triggered_org_id__isnull=False, dry_run=False, overall_status="inconclusive"),
            ),
            # An organization's own history of one agent: everything, in the pages' order.
            models.Index(
                "triggered_org_id",
                "agent_url",
                *_NEWEST_FIRST,
                name="runs_own_history",
                condition=Q(triggered_org_id__isnull=False),
            ),
            # All that an organization caused, whatever the agent: the API's list.
            models.Index(
                "triggered_org_id",
                *_NEWEST_FIRST,
                name="runs_own_newest",
                condition=Q(triggered_org_id__isnull=False),
            ),
            # What one private runner made.
            models.Index(
                "triggered_org_id",
                "executor_id",
                *_NEWEST_FIRST,
                name="runs_of_runner",
                condition=Q(executor_id__isnull=False),
            ),
            # Heartbeats of one agent.
            models.Index(
                "agent_url",
                *_NEWEST_FIRST,
                name="runs_platform_history",
                condition=Q(triggered_org_id__isnull=True),
            ),
            # The status projection: the last run of each status.
            models.Index(
                "agent_url",
                "overall_status",
                *_NEWEST_FIRST,
                name="runs_moving_status",
                condition=Q(moves_status=True),
            ),
            # The staff site: everything, newest first.
            models.Index(*_NEWEST_FIRST, name="runs_newest"),
        ]

    def __str__(self) -> str:
        return f"{self.get_triggered_by_display()} of {self.agent_url}"

    def found_protocol(self, agent: Agent) -> bool:
        """Whether the run proves a protocol that is not the one on record (E5).

        Proof is a version that was agreed on in a handshake, or that an interface that answers has: a suite's own
        protocol is none. What is on record already is corrected by the baseline alone, which asks again when
        that does not hold.
        """
        proven = self.protocol in Protocol.values and self.protocol_version != ""
        conclusive = self.overall_status != OverallStatus.INCONCLUSIVE and self.executor_kind == ExecutorKind.HOSTED
        may_correct = not agent.protocol or not self.beside_status
        return proven and conclusive and may_correct and self.protocol not in (Protocol.UNKNOWN, agent.protocol)

    @property
    def counts(self) -> dict[str, int]:
        """How many steps each verdict has."""
        return {
            "passed": self.passed_count,
            "failed": self.failed_count,
            "skipped": self.skipped_count,
            "silent": self.silent_count,
            "not_applicable": self.not_applicable_count,
            "not_tested": self.not_tested_count,
        }
