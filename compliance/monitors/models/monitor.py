"""When: monitors, which are an organization's recurring tests of an agent, and the decisions about their runs."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import connection, models
from django.db.models import Exists, OuterRef, Q, Subquery
from django.db.models.functions import Lower
from django.utils.timezone import now as time_now

from compliance.jobs.models import CredentialChoice, Job
from compliance.monitors import functions
from compliance.monitors.models.decision import MonitorDecision
from compliance.monitors.schedule import BadSchedule, Schedule
from compliance.registry.models import POOL_LENGTH, AgentContext, ExecutorKind, Placement, Runner, RunnerState
from compliance.runs.models import OverallStatus
from compliance.suites.models import Suite, SuiteVersion
from compliance.tenancy.events import Channel, Priority
from compliance.tenancy.ids import uuid7
from compliance.tenancy.models import Organization
from compliance.tenancy.rls import isolated, owner_reads
from compliance.tenancy.schema import Privileges, Reference, Trigger, deleted_with_organization
from compliance.tenancy.scope import Actor

SCHEDULER = Actor.system("schedule")
CRON_LENGTH = 100
MAX_COOLDOWN_SECONDS = 604_800
MAX_INTERVAL_MINUTES = 525_600  # what the table takes; the settings may allow less


class MonitorState(models.TextChoices):
    ACTIVE = "active", "Active"
    PAUSED = "paused", "Paused"
    PARKED = "parked", "Parked"
    ARCHIVED = "archived", "Archived"


_STRIPS = """
    SELECT m.id, ARRAY(
        SELECT r.overall_status FROM compliance_jobs q
        JOIN agent_compliance_runs r ON r.id = q.run_id AND r.overall_status <> 'inconclusive'
        WHERE q.monitor_id = m.id ORDER BY q.created_at DESC LIMIT 30)
    FROM unnest(%s::uuid[]) AS m(id)
"""


class MonitorQuerySet(models.QuerySet["Monitor"]):
    def current(self, organization_id: str) -> MonitorQuerySet:
        """An organization's monitors that are not archived, by name."""
        return self.of_organization(organization_id).exclude(state=MonitorState.ARCHIVED)

    def placed_on(self, organization_id: str, placement: Placement) -> MonitorQuerySet:
        """Those of them that are placed on a runner, or on a pool, by name."""
        placed = self.filter(runner_id=placement.runner_id) if placement.runner_id else self.filter(pool=placement.pool)
        return placed.current(organization_id).order_by(Lower("name"), "id")

    def of_organization(self, organization_id: str) -> MonitorQuerySet:
        """An organization's monitors, archived ones too, by name."""
        return self.filter(organization_id=organization_id).order_by("name", "id")

    def states_of(self, organization_id: str) -> dict[str, int]:
        """How many monitors an organization has in each state; a state that none has is left out."""
        rows = self.filter(organization_id=organization_id).order_by().values_list("state")
        return dict(rows.annotate(count=models.Count("pk")))

    @staticmethod
    def strips(monitor_ids: Iterable[UUID]) -> dict[UUID, list[str]]:
        """The verdicts of each monitor's last conclusive runs, oldest first. Needs organization_scope."""
        with connection.cursor() as cursor:
            cursor.execute(_STRIPS, [list(monitor_ids)])
            return {monitor_id: newest_first[::-1] for monitor_id, newest_first in cursor.fetchall()}

    def with_names(self) -> MonitorQuerySet:
        """With agent and suite at hand, and `runner_name`, what the runner that they are placed on is called."""
        runner = Runner.objects.filter(pk=OuterRef("runner_id")).values("name")[:1]
        related = self.select_related("context", "suite__current_version", "suite_version")
        related = related.defer("suite__current_version__definition", "suite_version__definition")
        return related.annotate(runner_name=Subquery(runner))

    def due(self, organization_id: str, now: datetime) -> MonitorQuerySet:
        """An organization's monitors that should run by now and have no active job, the longest due first.

        One that is deferred is due again when its time has come; if it waits for its runner and not for capacity, also
        as soon as one is back (L13).
        """
        active = Job.objects.active().filter(monitor_id=OuterRef("pk"))
        back = Runner.objects.filter(
            Q(pk=OuterRef("runner_id")) | (~Q(pool="") & Q(pool=OuterRef("pool"))),
            organization_id=organization_id,
            state=RunnerState.ACTIVE,
            online_until__gt=now,
        )
        return (
            self.filter(organization_id=organization_id, state=MonitorState.ACTIVE, next_run_at__lte=now)
            .filter(Q(deferred_until=None) | Q(deferred_until__lte=now) | (Q(waiting_since=None) & Exists(back)))
            # Asked of each monitor, by an index. NOT EXISTS may be made into a join, and is, by reading all jobs
            # for each monitor, while the database has not yet counted how many there are.
            .alias(active=Subquery(active.values("pk")[:1]))
            .filter(active=None)
            .order_by("next_run_at", "id")
        )


class Monitor(models.Model):
    """An organization's recurring test of an agent."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    # The database's references, below, name the organization too: Django cannot say so.
    organization = models.ForeignKey(
        Organization, on_delete=models.DO_NOTHING, db_constraint=False, related_name="monitors"
    )
    name = models.CharField(max_length=100)
    # None once the organization no longer has the agent; the address stays.
    context = models.ForeignKey(
        AgentContext, on_delete=models.DO_NOTHING, db_constraint=False, null=True, related_name="monitors"
    )
    agent_url = models.TextField()
    suite = models.ForeignKey(Suite, on_delete=models.PROTECT, related_name="+")
    suite_version = models.ForeignKey(
        SuiteVersion, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )  # the pinned one; None: whichever is current
    options = models.JSONField(default=dict, blank=True)
    dry_run = models.BooleanField(default=False)
    credential_choice = models.CharField(
        max_length=10, choices=CredentialChoice.choices, default=CredentialChoice.AUTOMATIC
    )
    credential_id = models.UUIDField(null=True, blank=True)

    executor_kind = models.CharField(
        max_length=10, choices=ExecutorKind.choices, default=ExecutorKind.HOSTED, db_default="hosted"
    )
    runner_id = models.UUIDField(null=True, blank=True)
    pool = models.CharField(max_length=POOL_LENGTH, blank=True, default="", db_default="")
    notify_priority = models.CharField(
        max_length=10, choices=Priority.choices, default=Priority.NORMAL, db_default="normal"
    )
    notify_channel = models.CharField(
        max_length=10, choices=Channel.choices, default=Channel.IN_APP, db_default="in_app"
    )
    notify_cooldown_seconds = models.PositiveIntegerField(
        default=3600, db_default=3600, help_text="The shortest time between two notifications."
    )

    interval_minutes = models.PositiveIntegerField(null=True, blank=True)
    cron = models.CharField(max_length=CRON_LENGTH, blank=True)
    timezone = models.CharField(max_length=64, default="UTC")
    anchor = models.DateTimeField(help_text="Where an interval begins to count.")

    state = models.CharField(max_length=10, choices=MonitorState.choices, default=MonitorState.ACTIVE)
    state_reason = models.CharField(max_length=300, blank=True, help_text="Why it is parked or paused.")
    next_run_at = models.DateTimeField(null=True, blank=True)
    # While its due occurrence waits: when to try again. What waits for a runner is due as soon as one is back (L13).
    deferred_until = models.DateTimeField(null=True, blank=True)
    waiting_since = models.DateTimeField(
        null=True, blank=True, help_text="Since when its due occurrence waits for capacity."
    )
    last_run_id = models.UUIDField(null=True, blank=True)
    last_status = models.CharField(max_length=14, choices=OverallStatus.choices, blank=True)
    last_run_at = models.DateTimeField(null=True, blank=True)
    last_scheduled_run_at = models.DateTimeField(
        null=True, blank=True, help_text="When the last one by schedule ended."
    )
    failures_in_a_row = models.PositiveSmallIntegerField(default=0, help_text="Inconclusive runs by schedule.")
    created_at = models.DateTimeField(default=time_now, editable=False)
    created_by = models.CharField(max_length=254, help_text="As they were called then.")

    objects = MonitorQuerySet.as_manager()

    # Those that people set and nothing follows from: forms, the API and the actions pass them on as they are.
    PLAIN_FIELDS = ("dry_run", "notify_priority", "notify_channel", "notify_cooldown_seconds")

    # Whether and when it runs next: what changes together.
    STANDING = ("state", "state_reason", "next_run_at", "deferred_until", "waiting_since")

    class Meta:
        db_table = "monitors"
        constraints = [
            models.CheckConstraint(condition=Q(state__in=MonitorState.values), name="monitor_state_known"),
            models.CheckConstraint(
                condition=Q(state="active", next_run_at__isnull=False)
                | (~Q(state="active") & Q(next_run_at__isnull=True)),
                name="monitor_due_iff_active",
            ),
            models.CheckConstraint(
                condition=Q(
                    interval_minutes__isnull=False,
                    interval_minutes__gte=1,
                    interval_minutes__lte=MAX_INTERVAL_MINUTES,
                    cron="",
                )
                | (Q(interval_minutes__isnull=True) & ~Q(cron="")),
                name="monitor_interval_or_cron",
            ),
            models.CheckConstraint(
                condition=Q(credential_choice="chosen", credential_id__isnull=False)
                | Q(credential_choice__in=["automatic", "none"], credential_id__isnull=True),
                name="monitor_credential_iff_chosen",
            ),
            models.CheckConstraint(
                condition=Q(executor_kind="hosted", runner_id__isnull=True, pool="")
                | Q(executor_kind="private", runner_id__isnull=False, pool="")
                | (Q(executor_kind="private", runner_id__isnull=True) & ~Q(pool="")),
                name="monitor_pinned_iff_private",
            ),
            models.CheckConstraint(condition=Q(notify_priority__in=Priority.values), name="monitor_priority_known"),
            models.CheckConstraint(condition=Q(notify_channel__in=Channel.values), name="monitor_channel_known"),
            models.CheckConstraint(
                condition=Q(notify_cooldown_seconds__lte=MAX_COOLDOWN_SECONDS), name="monitor_cooldown_range"
            ),
            models.UniqueConstraint(
                "organization",
                Lower("name"),
                condition=~Q(state="archived"),
                name="one_monitor_per_name",
            ),
            models.UniqueConstraint(fields=["id", "organization"], name="monitors_of_organization"),
            deleted_with_organization("monitors_organization_fk"),
            Reference(
                name="monitors_context_fk",
                columns="context_id, organization_id",
                to="agent_contexts (id, organization_id)",
                on_delete="SET NULL (context_id)",
            ),
            Reference(
                name="monitors_runner_fk", columns="runner_id, organization_id", to="runners (id, organization_id)"
            ),
            Reference(
                name="jobs_monitor_fk",
                table="compliance_jobs",
                columns="monitor_id, organization_id",
                to="monitors (id, organization_id)",
                on_delete="SET NULL (monitor_id)",
            ),
            isolated(owner_reads("finding_due", "state = 'active'")),
            Privileges(
                app="SELECT, INSERT, UPDATE (name, options, dry_run, credential_choice, credential_id, executor_kind,"
                " runner_id, pool, suite_version_id, interval_minutes, cron, timezone, anchor, state, state_reason,"
                " next_run_at, deferred_until, waiting_since, last_run_id, last_status, last_run_at,"
                " last_scheduled_run_at, failures_in_a_row, notify_priority, notify_channel, notify_cooldown_seconds)",
                staff="SELECT",
            ),
            Trigger(
                name="monitor_guard_pin",
                event="BEFORE INSERT OR UPDATE OF runner_id, pool",
                condition="NEW.executor_kind = 'private'",
                function="guard_pin",
            ),
            functions.GUARD_RUNNER_OF_MONITORS,
            functions.ORGANIZATIONS_DUE,
            functions.WORK_METRICS,
        ]
        indexes = [
            models.Index(fields=["next_run_at", "id"], name="monitors_due", condition=Q(state="active")),
            models.Index(
                fields=["organization", "next_run_at", "id"], name="monitors_due_of_one", condition=Q(state="active")
            ),
            models.Index(fields=["-created_at", "-id"], name="monitors_newest"),
            models.Index(fields=["runner_id"], name="monitors_of_runner", condition=Q(runner_id__isnull=False)),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def schedule(self) -> Schedule:
        return Schedule(self.timezone, self.anchor, self.interval_minutes, self.cron)

    def next_times(self, count: int = 5) -> list[datetime]:
        """Its next times; none unless it is active, and none of a bad schedule: the tick parks it, and says why."""
        if self.next_run_at is None:
            return []
        try:
            return [self.next_run_at, *self.schedule.next_times(self.next_run_at, count - 1)]
        except BadSchedule:
            return []

    @property
    def schedule_words(self) -> str:
        return self.schedule.in_words()

    @staticmethod
    def late_after() -> timedelta:
        """How long after its time a monitor is overdue: something of ours, or a runner, is late."""
        return timedelta(minutes=settings.HEARTBEAT_OVERDUE_AFTER_MINUTES)

    @property
    def is_due(self) -> bool:
        return self.next_run_at is not None and self.next_run_at <= time_now()

    @property
    def is_overdue(self) -> bool:
        return self.next_run_at is not None and self.next_run_at <= time_now() - self.late_after()

    @property
    def actor(self) -> Actor:
        """Who asks for its scheduled runs."""
        return Actor("monitor", str(self.pk), self.name)

    @property
    def version_to_run(self) -> SuiteVersion | None:
        """The pinned version, or the suite's current one; None when nothing is published."""
        return self.suite_version or self.suite.current_version

    @property
    def placement(self) -> Placement:
        """Where its runs are to run."""
        return Placement(self.runner_id, self.pool)

    def locked(self) -> Monitor:
        """The row as it is now, locked."""
        return Monitor.objects.select_for_update(of=("self",)).get(pk=self.pk)

    def pause(self, reason: str) -> None:
        self.state, self.state_reason, self.next_run_at = MonitorState.PAUSED, reason[:300], None
        self.stop_waiting()

    def defer(self, now: datetime) -> None:
        """Leave its occurrence due, and look at it again later: after as long as it has waited already, in bounds."""
        assert self.next_run_at is not None
        least = timedelta(seconds=settings.RUNNER_DEFER_MIN_SECONDS)
        most = timedelta(seconds=settings.RUNNER_DEFER_MAX_SECONDS)
        self.deferred_until, self.waiting_since = now + min(max(now - self.next_run_at, least), most), None

    def wait_for_capacity(self, now: datetime) -> bool:
        """Leave its occurrence due: first for the next tick, then ever less often (Q1).

        Returns False, and leaves everything as it is, when it has waited as long as it may.
        """
        assert self.next_run_at is not None
        # A time from before this occurrence is another's: code from before this column did not clear it.
        fresh = self.waiting_since is None or self.waiting_since < self.next_run_at
        since = now if fresh or self.waiting_since is None else self.waiting_since
        if now >= since + timedelta(minutes=settings.MONITOR_CAPACITY_WAIT_MINUTES):
            return False
        least = timedelta(seconds=settings.MONITOR_TICK_SECONDS)
        most = timedelta(seconds=settings.MONITOR_RETRY_MAX_SECONDS)
        self.waiting_since, self.deferred_until = since, now + min(max(now - since, least), most)
        return True

    def stop_waiting(self) -> None:
        self.deferred_until = self.waiting_since = None

    def park(self, reason: str) -> None:
        """Stop it for something that only an edit can mend."""
        self.state, self.state_reason, self.next_run_at = MonitorState.PARKED, reason[:300], None
        self.stop_waiting()

    def advance(self, now: datetime) -> None:
        """Make the next occurrence the due one. Raises BadSchedule.

        Later than now, so that missed occurrences do not pile up; later than the one that was due, so that a clock
        that was set back does not bring it again (L19).
        """
        if self.state == MonitorState.ACTIVE:
            assert self.next_run_at is not None
            self.next_run_at = self.schedule.next_after(max(now, self.next_run_at))
            self.stop_waiting()

    def decision(
        self,
        outcome: str,
        reason: str,
        *,
        at: datetime,
        scheduled_for: datetime | None = None,
        by: Actor = SCHEDULER,
        job: Job | None = None,
    ) -> MonitorDecision:
        """An unsaved decision about this monitor, with its names as they are now."""
        return MonitorDecision(
            organization_id=self.organization_id,
            at=at,
            monitor_id=self.pk,
            monitor_name=self.name,
            agent_url=self.agent_url,
            scheduled_for=scheduled_for,
            outcome=outcome,
            reason=reason[:300],
            job_id=job.pk if job else None,
            **by.as_fields(),
        )
