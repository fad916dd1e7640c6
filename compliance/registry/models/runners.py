"""Where: private runners, the executors inside an organization's own network."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower
from django.utils import timezone

from compliance.registry import functions
from compliance.tenancy.ids import uuid7
from compliance.tenancy.models import Organization
from compliance.tenancy.rls import isolated, owner_reads
from compliance.tenancy.schema import Privileges, Reference, deleted_with_organization

POOL_LENGTH = 60
POOL_PATTERN = r"^[a-z0-9][a-z0-9-]{0,59}$"


class ExecutorKind(models.TextChoices):
    HOSTED = "hosted", "Hosted"
    PRIVATE = "private", "Private runner"


@dataclass(frozen=True, slots=True)
class Placement:
    """Where work is to run: hosted when it says nothing, else one private runner, or any of a named pool."""

    runner_id: UUID | None = None
    pool: str = ""

    @property
    def kind(self) -> str:
        return ExecutorKind.PRIVATE if self.runner_id or self.pool else ExecutorKind.HOSTED

    @property
    def is_private(self) -> bool:
        return self.kind == ExecutorKind.PRIVATE

    def names(self, runner: Runner) -> bool:
        """Whether the runner is the one, or in the pool, that it says."""
        return self.runner_id == runner.pk if self.runner_id else self.pool != "" and self.pool == runner.pool


HOSTED = Placement()


class RunnerState(models.TextChoices):
    ACTIVE = "active", "Active"
    DISABLED = "disabled", "Disabled"  # it keeps its name and what is placed on it, and gets no work
    DELETED = "deleted", "Deleted"  # a name that runs and decisions refer to


class RunnerQuerySet(models.QuerySet["Runner"]):
    def not_deleted(self, organization_id: str) -> RunnerQuerySet:
        """An organization's runners that are not deleted, by name."""
        return self.filter(organization_id=organization_id).exclude(state=RunnerState.DELETED).order_by("name", "id")

    def named_by(self, organization_id: str, placement: Placement) -> RunnerQuerySet:
        """Those that a private placement names, disabled ones too, by name."""
        kept = self.not_deleted(organization_id)
        return kept.filter(pk=placement.runner_id) if placement.runner_id else kept.filter(pool=placement.pool)

    def others_in_pool(self, runner: Runner) -> RunnerQuerySet:
        """The others of a runner's pool, disabled ones too; none for one without a pool."""
        if not runner.pool:
            return self.none()
        return self.named_by(runner.organization_id, Placement(pool=runner.pool)).exclude(pk=runner.pk)


class Runner(models.Model):
    """A private runner: a program of ours on a machine of the organization's own."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    # The database's reference, below: a deleted organization takes its runners along.
    organization = models.ForeignKey(
        Organization, on_delete=models.DO_NOTHING, db_constraint=False, related_name="runners"
    )
    name = models.CharField(max_length=100)
    pool = models.CharField(max_length=POOL_LENGTH, blank=True, help_text="Work for the pool goes to any runner in it.")
    state = models.CharField(max_length=10, choices=RunnerState.choices, default=RunnerState.ACTIVE)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    created_by = models.CharField(max_length=254, help_text="As they were called then.")

    last_seen_at = models.DateTimeField(null=True, blank=True)
    online_since = models.DateTimeField(null=True, blank=True)
    online_until = models.DateTimeField(null=True, blank=True, help_text="Offline from then on if nothing is heard.")
    offline_notified_at = models.DateTimeField(
        null=True, blank=True, help_text="When its organization was notified of that."
    )
    version = models.CharField(max_length=40, blank=True)
    host = models.CharField(max_length=200, blank=True)
    engines = models.JSONField(default=dict, blank=True, help_text="Those that it can run, with their versions.")
    clock_ahead_ms = models.BigIntegerField(default=0, help_text="How far its clock is ahead of ours.")
    last_error = models.CharField(max_length=500, blank=True)
    last_error_at = models.DateTimeField(null=True, blank=True)

    objects = RunnerQuerySet.as_manager()

    class Meta:
        db_table = "runners"
        constraints = [
            models.CheckConstraint(condition=Q(state__in=RunnerState.values), name="runner_state_known"),
            models.CheckConstraint(condition=Q(pool="") | Q(pool__regex=POOL_PATTERN), name="runner_pool_shape"),
            models.UniqueConstraint(
                "organization", Lower("name"), condition=~Q(state="deleted"), name="one_runner_per_name"
            ),
            models.UniqueConstraint(fields=["id", "organization"], name="runners_of_organization"),
            deleted_with_organization("runners_organization_fk"),
            # A runner's keys name it, in a package below.
            Reference(
                name="api_keys_runner_fk",
                table="api_keys",
                columns="runner_id, organization_id",
                to="runners (id, organization_id)",
            ),
            isolated(owner_reads("finding_gone", "state = 'active'")),
            Privileges(
                app="SELECT, INSERT, UPDATE (name, pool, state, last_seen_at, online_since, online_until,"
                " offline_notified_at, version, host, engines, clock_ahead_ms, last_error, last_error_at)",
                staff="SELECT",
            ),
            functions.GUARD_PIN,
            functions.GUARD_RUNNER,
            functions.RUNNERS_GONE,
        ]
        indexes = [
            models.Index(fields=["online_until"], name="runners_gone", condition=Q(state="active")),
            models.Index(fields=["organization", "pool"], name="runners_of_pool", condition=Q(state="active")),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_online(self) -> bool:
        """Whether it was heard of lately, and is trusted."""
        return self.state == RunnerState.ACTIVE and self.online_until is not None and self.online_until > timezone.now()

    @property
    def presence(self) -> str:
        """Whether it can be given jobs now, in words."""
        if self.state != RunnerState.ACTIVE:
            return self.get_state_display().lower()
        if self.last_seen_at is None:
            return "never connected"
        return "online" if self.is_online else "offline"

    @property
    def work(self) -> Q:
        """Selects what is placed on it, or on its pool."""
        return Q(runner_id=self.pk) | (Q(pool=self.pool) if self.pool else Q())

    def lacks(self, engine: str) -> bool:
        """Whether it has listed its engines, and not this one. Before its first contact nothing is known."""
        return self.last_seen_at is not None and engine not in self.engines

    def change_state(self, state: RunnerState) -> None:
        """Trust it, trust it no more, or delete it; the row stays, for the runs that name it."""
        self.state = state
        self.save(update_fields=["state"])

    def seen(self, now: datetime) -> None:
        """Note that it was heard of."""
        if not self.is_online:
            self.online_since = now
        self.last_seen_at = now
        self.online_until = now + timedelta(seconds=settings.RUNNER_OFFLINE_AFTER_SECONDS)
