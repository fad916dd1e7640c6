"""How the tick goes: when each phase last completed, and counters. Nothing of any organization is in these tables."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now

from compliance.monitors import functions
from compliance.tenancy.schema import Privileges

PHASES = ("heartbeats", "monitors", "runners")


class TickPhase(models.Model):
    """One phase of the tick, and how it went last."""

    name = models.CharField(max_length=40, primary_key=True)
    # From here on it is missed: a fresh installation is given as long for its first tick as any other.
    made_at = models.DateTimeField(db_default=Now())
    last_started_at = models.DateTimeField(null=True)
    last_completed_at = models.DateTimeField(null=True, help_text="A phase that failed is not completed.")
    last_duration_ms = models.PositiveIntegerField(null=True, help_text="Of the last one that was completed.")
    last_failed_at = models.DateTimeField(null=True)
    last_error = models.CharField(max_length=100, db_default="", help_text="Its kind; the log has the rest.")

    class Meta:
        db_table = "tick_phases"
        verbose_name = "phase of the tick"
        verbose_name_plural = "phases of the tick"
        constraints = [
            Privileges(app="SELECT, INSERT, UPDATE", staff="SELECT"),
            functions.GUARD_PHASE,
        ]

    def __str__(self) -> str:
        return self.name


class TickCounter(models.Model):
    """How often something has happened since the installation; only ever grows."""

    name = models.CharField(max_length=40)
    label = models.CharField(max_length=60)
    value = models.BigIntegerField()

    class Meta:
        db_table = "tick_counters"
        constraints = [
            models.UniqueConstraint(fields=["name", "label"], name="one_counter_per_label"),
            Privileges(app="SELECT, INSERT, UPDATE", staff="SELECT"),
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.label}"
