"""Jobs: work that should become a run. The rows are the queue; Celery dispatches them to workers."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils import timezone

from compliance.jobs import functions
from compliance.registry.models import HOSTED, POOL_LENGTH, Agent, ExecutorKind, Placement
from compliance.runs.models import BY_ORGANIZATION, BY_PLATFORM, TriggeredBy
from compliance.suites.models import SuiteVersion
from compliance.tenancy.ids import uuid7
from compliance.tenancy.models import Organization
from compliance.tenancy.rls import (
    OWNER,
    Policy,
    RowLevelSecurity,
    isolated,
    own_rows,
    owner_reads,
    platform_rows,
    staff_everything,
)
from compliance.tenancy.schema import Privileges, Reference, Trigger, insert_only


class JobState(models.TextChoices):
    QUEUED = "queued", "Queued"
    LEASED = "leased", "Running"
    FINISHED = "finished", "Finished"
    EXPIRED = "expired", "Expired"
    CANCELLED = "cancelled", "Cancelled"


class CredentialChoice(models.TextChoices):
    """Which credential a test is to use."""

    AUTOMATIC = "automatic", "The one that is granted"
    NONE = "none", "None"
    CHOSEN = "chosen", "A chosen one"


ACTIVE = (JobState.QUEUED, JobState.LEASED)


def expires(placement: Placement = HOSTED) -> datetime:
    """When a job that is created now ends if nobody serves it (L15)."""
    seconds = settings.PRIVATE_JOB_EXPIRES_SECONDS if placement.is_private else settings.JOB_EXPIRES_SECONDS
    return timezone.now() + timedelta(seconds=seconds)


class JobQuerySet(models.QuerySet["Job"]):
    def active(self) -> JobQuerySet:
        """Work that has not ended."""
        return self.filter(state__in=ACTIVE)

    def to_run(self) -> JobQuerySet:
        """With what a run needs of the agent and the suite version, and without its long definition."""
        definition = "suite_version__definition"
        read = {"suite_options": F(f"{definition}__options"), "suite_is_full": F(f"{definition}__full")}
        return self.select_related("agent", "suite_version__suite").defer(definition).annotate(**read)

    def free(self) -> JobQuerySet:
        """Jobs that nobody works on, locked, the oldest first, without those that another is just taking (L3).

        By the database's clock, as all that is about leases: those of web and worker machines may differ.
        """
        free = Q(state=JobState.QUEUED) | Q(lease_expires_at__lt=Now())
        waiting = self.to_run().active().filter(free, expires_at__gt=Now()).order_by("created_at", "id")
        return waiting.select_for_update(skip_locked=True, of=("self",))

    def locked(self, job_id: UUID) -> Job | None:
        """One job, locked; whoever has it is waited for. Needs its scope."""
        return self.to_run().select_for_update(of=("self",)).filter(pk=job_id).first()


class Job(models.Model):
    """Work that should become a run. What it needs is copied into it when it is created."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    # No index of its own for an organization, an agent or a version: a row is written four times in its life, each
    # time into all indexes, and what is asked for them is answered by those below.
    organization = models.ForeignKey(
        Organization, on_delete=models.CASCADE, null=True, blank=True, db_index=False, related_name="jobs"
    )
    agent = models.ForeignKey(Agent, on_delete=models.PROTECT, db_column="agent_url", db_index=False, related_name="+")
    triggered_by = models.CharField(max_length=16, choices=TriggeredBy.choices)
    actor_kind = models.CharField(max_length=10)
    actor_id = models.CharField(max_length=100)
    actor_name = models.CharField(max_length=254)
    suite_version = models.ForeignKey(SuiteVersion, on_delete=models.PROTECT, db_index=False, related_name="+")
    dry_run = models.BooleanField(default=False)
    options = models.JSONField(default=dict, blank=True)
    credential_choice = models.CharField(
        max_length=10, choices=CredentialChoice.choices, default=CredentialChoice.AUTOMATIC, db_default="automatic"
    )
    # The chosen one. No foreign key: that it is gone is found out, and said, when it should be used.
    credential_id = models.UUIDField(null=True, blank=True)
    # Whose it is, for its schedule and its list of results; what the work needs is in this row. Monitors lie above
    # jobs: they declare the database's reference to theirs.
    monitor_id = models.UUIDField(null=True, blank=True)
    scheduled_for = models.DateTimeField(
        null=True, blank=True, help_text="The occurrence of the monitor; none when somebody asked."
    )
    # Where it is to run. A private runner takes what is placed on it or its pool; a hosted worker never does (L3).
    executor_kind = models.CharField(
        max_length=10, choices=ExecutorKind.choices, default=ExecutorKind.HOSTED, db_default="hosted"
    )
    runner_id = models.UUIDField(null=True, blank=True)
    pool = models.CharField(max_length=POOL_LENGTH, blank=True, default="", db_default="")

    state = models.CharField(max_length=10, choices=JobState.choices, default=JobState.QUEUED)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    dispatched_at = models.DateTimeField(default=timezone.now, help_text="When it was last sent to a worker.")
    attempt = models.PositiveSmallIntegerField(default=0)
    releases = models.PositiveSmallIntegerField(
        default=0, db_default=0, help_text="How often private runners handed it back."
    )
    lease_token = models.UUIDField(null=True, blank=True)
    lease_expires_at = models.DateTimeField(null=True, blank=True)
    # Which private runner has it, or had it last, and the key of the run that comes of its lease.
    leased_by = models.UUIDField(null=True, blank=True)
    leased_by_name = models.CharField(max_length=100, blank=True, default="", db_default="")
    lease_run_id = models.UUIDField(null=True, blank=True)
    # The lease that brought the result: the same result, sent again, is known by it (L5).
    finished_token = models.UUIDField(null=True, blank=True)
    expires_at = models.DateTimeField(default=expires, help_text="When it ends if nobody serves it.")
    end_reason = models.CharField(
        max_length=300,
        blank=True,
        default="",
        db_default="",
        help_text="Why it ended without a run, for its organization.",
    )
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    progress = models.JSONField(default=dict, blank=True)
    run_id = models.UUIDField(null=True, blank=True)

    objects = JobQuerySet.as_manager()

    # Of its suite version, where to_run has read it.
    suite_options: dict[str, Any] | None
    suite_is_full: bool | None

    class Meta:
        db_table = "compliance_jobs"
        verbose_name = "job"
        constraints = [
            models.CheckConstraint(
                condition=Q(triggered_by__in=[*BY_ORGANIZATION], organization__isnull=False)
                | Q(triggered_by__in=[*BY_PLATFORM], organization__isnull=True),
                name="job_organization_iff_it_caused_it",
            ),
            models.CheckConstraint(
                condition=Q(state="leased", lease_token__isnull=False, lease_expires_at__isnull=False)
                | (~Q(state="leased") & Q(lease_token__isnull=True, lease_expires_at__isnull=True)),
                name="job_lease_iff_leased",
            ),
            models.CheckConstraint(
                condition=(Q(state="finished") & Q(run_id__isnull=False))
                | (~Q(state="finished") & Q(run_id__isnull=True)),
                name="job_run_iff_finished",
            ),
            models.CheckConstraint(condition=Q(state__in=JobState.values), name="job_state_known"),
            models.CheckConstraint(
                condition=Q(credential_choice="chosen", credential_id__isnull=False)
                | Q(credential_choice__in=["automatic", "none"], credential_id__isnull=True),
                name="job_credential_iff_chosen",
            ),
            models.CheckConstraint(
                condition=Q(executor_kind="hosted", runner_id__isnull=True, pool="")
                | Q(executor_kind="private", runner_id__isnull=False, pool="", organization__isnull=False)
                | (Q(executor_kind="private", runner_id__isnull=True, organization__isnull=False) & ~Q(pool="")),
                name="job_pinned_iff_private",
            ),
            models.CheckConstraint(
                # L3: hosted work is never in a private runner's hands, nor private work in a hosted worker's.
                condition=~Q(state="leased")
                | Q(executor_kind="hosted", leased_by__isnull=True)
                | Q(executor_kind="private", leased_by__isnull=False, lease_run_id__isnull=False),
                name="job_leased_by_its_kind",
            ),
            # Two presses of the same button are one job.
            models.UniqueConstraint(
                fields=["organization", "agent", "suite_version", "dry_run"],
                condition=Q(state__in=["queued", "leased"], organization__isnull=False) & ~Q(triggered_by="monitor"),
                name="one_active_job_per_organization",
            ),
            models.UniqueConstraint(
                fields=["monitor_id"],
                condition=Q(state__in=["queued", "leased"], monitor_id__isnull=False),
                name="one_active_job_per_monitor",
            ),
            models.UniqueConstraint(
                fields=["monitor_id", "scheduled_for"],
                condition=~Q(state="expired") & Q(scheduled_for__isnull=False),
                name="one_job_per_occurrence",
            ),
            models.CheckConstraint(
                condition=Q(monitor_id__isnull=True, scheduled_for__isnull=True) | Q(triggered_by="monitor"),
                name="job_monitor_only_of_monitors",
            ),
            models.UniqueConstraint(
                fields=["agent", "suite_version", "triggered_by"],
                condition=Q(state__in=["queued", "leased"], organization__isnull=True),
                name="one_active_job_of_platform",
            ),
            models.UniqueConstraint(fields=["id", "organization"], name="jobs_of_organization"),
            Reference(name="jobs_runner_fk", columns="runner_id, organization_id", to="runners (id, organization_id)"),
            RowLevelSecurity(
                [
                    own_rows(),
                    platform_rows("organization_id IS NULL"),
                    staff_everything(),
                    owner_reads("cleanup"),
                    Policy(
                        "cancelling",
                        to=OWNER,
                        for_="UPDATE",
                        using="organization_id IS NOT NULL",
                        check="state = 'cancelled'",
                    ),
                    Policy(
                        "expiring",
                        to=OWNER,
                        for_="UPDATE",
                        using="state IN ('queued', 'leased')",
                        check="state = 'expired'",
                    ),
                ]
            ),
            Trigger(
                name="job_guard_pin",
                event="BEFORE INSERT",
                condition="NEW.executor_kind = 'private'",
                function="guard_pin",
            ),
            functions.CANCEL_WITHOUT_AGENT,
            functions.LEASES_RUN_OUT,
            functions.COUNT_LEASE_RUN_OUT,
            functions.STALE_JOBS,
            functions.LAPSED_PRIVATE_JOBS,
            functions.EXPIRE_JOBS,
            functions.WAITING_WORK,
            functions.FREE_OF_CAPPED,
        ]
        indexes = [
            models.Index(
                fields=["state", "created_at"], name="jobs_active", condition=Q(state__in=["queued", "leased"])
            ),
            models.Index(fields=["organization", "agent", "-created_at"], name="jobs_of_agent"),
            models.Index(fields=["agent"], name="jobs_of_url"),
            models.Index(
                fields=["organization", "agent"],
                name="jobs_in_flight",
                condition=Q(state__in=["queued", "leased"]),
            ),
            models.Index(fields=["-created_at", "-id"], name="jobs_newest"),
            models.Index(
                fields=["monitor_id", "-created_at"], name="jobs_of_monitor", condition=Q(monitor_id__isnull=False)
            ),
            models.Index(
                fields=["organization", "created_at"], name="jobs_of_monitors", condition=Q(triggered_by="monitor")
            ),
            models.Index(
                fields=["organization", "created_at", "id"],
                name="jobs_private",
                condition=Q(state__in=["queued", "leased"], executor_kind="private"),
            ),
            models.Index(fields=["expires_at"], name="jobs_expiring", condition=Q(state__in=["queued", "leased"])),
        ]

    def __str__(self) -> str:
        return f"{self.get_triggered_by_display()} of {self.agent_id}, {self.get_state_display().lower()}"

    @property
    def asks_for_full_suite(self) -> bool:
        """Whether all scenarios of a whole suite are to be run; needs to_run (R10)."""
        return self.suite_is_full is not False and not self.options.get("scenarios")

    @property
    def is_active(self) -> bool:
        return self.state in ACTIVE

    @property
    def placement(self) -> Placement:
        return Placement(self.runner_id, self.pool)

    def cancel(self, reason: str = "") -> bool:
        """End the job without a run; False when it has ended meanwhile. reason: why, for its organization.

        An executor that works on it loses its lease, and its result is discarded.
        """
        ended_at = timezone.now()
        ended = Job.objects.active().filter(pk=self.pk)
        # One conditional UPDATE: a result that is recorded at the same moment wins or loses as a whole.
        if not ended.update(
            state=JobState.CANCELLED,
            lease_token=None,
            lease_expires_at=None,
            finished_at=ended_at,
            end_reason=reason[:300],
        ):
            return False
        self.state, self.lease_token, self.lease_expires_at = JobState.CANCELLED, None, None
        self.finished_at, self.end_reason = ended_at, reason[:300]
        return True


class RejectedReport(models.Model):
    """What a private runner sent and could not be read as a report: kept for its organization to see (L16)."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    # The database's reference, below, names the organization too.
    organization_id = models.CharField(max_length=68)
    job = models.OneToOneField(Job, on_delete=models.DO_NOTHING, db_constraint=False, related_name="rejected_report")
    at = models.DateTimeField(default=timezone.now)
    runner_id = models.UUIDField()
    runner_name = models.CharField(max_length=100, help_text="As it was called then.")
    problem = models.CharField(max_length=300)
    body = models.TextField(help_text="What was sent, cut.")

    class Meta:
        db_table = "rejected_reports"
        constraints = [
            Reference(
                name="rejected_reports_job_fk",
                columns="job_id, organization_id",
                to="compliance_jobs (id, organization_id)",
                on_delete="CASCADE",
            ),
            isolated(),
            Privileges(app="SELECT, INSERT", staff="SELECT"),
            insert_only("UPDATE OR TRUNCATE"),
            functions.GUARD_REJECTED_REPORT,
        ]

    def __str__(self) -> str:
        return f"report for {self.job_id}: {self.problem}"
