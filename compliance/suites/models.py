"""Against what: suites and their versions. A published version never changes (a trigger refuses it)."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings
from django.db import models
from django.utils import timezone

from compliance.tenancy.schema import Privileges, insert_only

# Public status is measured by one suite, the heartbeats' own: if every suite moved it, an agent's status would say
# who last ran which suite, and a pass of one would wipe out the failures of another.
STATUS_SUITE = "baseline"


class SuiteQuerySet(models.QuerySet["Suite"]):
    def with_current_version(self) -> SuiteQuerySet:
        """Suites that can be run, with `current_version` at hand."""
        return self.filter(current_version__isnull=False).select_related("current_version").order_by("slug")


class Suite(models.Model):
    """A named set of checks bound to an engine, published by the platform to everybody."""

    slug = models.SlugField(max_length=100, unique=True)
    title = models.CharField(max_length=150)
    description = models.TextField(blank=True)
    current_version = models.ForeignKey(
        "SuiteVersion", on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )

    objects = SuiteQuerySet.as_manager()

    class Meta:
        db_table = "suites"
        constraints = [
            Privileges(app="SELECT", staff="SELECT, INSERT, UPDATE, DELETE"),
        ]

    def __str__(self) -> str:
        return self.title


class SuiteVersion(models.Model):
    """What a suite was on the day that it was published."""

    suite = models.ForeignKey(Suite, on_delete=models.PROTECT, related_name="versions")
    version = models.CharField(max_length=40)
    engine = models.CharField(max_length=60)
    definition = models.JSONField(help_text="Tracks, scenarios and options, as the engine reads them.")
    published_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        db_table = "suite_versions"
        constraints = [
            models.UniqueConstraint(fields=["suite", "version"], name="one_suite_version"),
            Privileges(app="SELECT", staff="SELECT, INSERT"),
            insert_only(),
        ]

    def __str__(self) -> str:
        return f"{self.suite.slug} {self.version}"


def oldest_valid_health() -> datetime:
    """What a worker said before this counts no more."""
    return timezone.now() - timedelta(seconds=settings.ENGINE_HEALTH_VALID_SECONDS)


class EngineHealth(models.Model):
    """Whether one worker can run one engine, as it said last."""

    worker = models.CharField(max_length=200, help_text="The worker's node name.")
    engine = models.CharField(max_length=60)
    version = models.CharField(max_length=60, blank=True)
    available = models.BooleanField()
    reason = models.TextField(blank=True, help_text="What is missing, and how to get it.")
    runtime = models.JSONField(default=dict, blank=True)
    memory_mb = models.PositiveIntegerField(default=0, help_text="What one run may take beside the worker, in MiB.")
    checked_at = models.DateTimeField()

    class Meta:
        db_table = "engine_health"
        verbose_name = "engine of a worker"
        verbose_name_plural = "engines of workers"
        constraints = [models.UniqueConstraint(fields=["worker", "engine"], name="one_health_of_engine_and_worker")]

    def __str__(self) -> str:
        return f"{self.engine} on {self.worker}"

    @property
    def is_live(self) -> bool:
        """Whether the worker said so lately."""
        return self.checked_at > oldest_valid_health()
