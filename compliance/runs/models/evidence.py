"""The exchanges behind the steps of runs, in a table of their own: lists of runs never touch it."""

from __future__ import annotations

from django.db import models


class StepEvidence(models.Model):
    """The exchange behind one step. Partitioned by month and expired by dropping partitions (migration 0002)."""

    pk = models.CompositePrimaryKey("run_id", "step_index", "recorded_at")
    run_id = models.UUIDField()
    step_index = models.PositiveSmallIntegerField(help_text="The step's place in the report, from 0.")
    recorded_at = models.DateTimeField()
    agent_url = models.TextField()
    organization_id = models.CharField(max_length=68, null=True, blank=True)
    # For a run with no organization: whose credential was used, who then is the only reader.
    credential_organization_id = models.CharField(max_length=68, null=True, blank=True)
    request = models.JSONField(null=True)
    response = models.JSONField(null=True)
    # No default of the database: it would be read back, and the writer may not read every row.
    pointer = models.TextField(blank=True, default="", help_text="The failing place, a JSON pointer (RFC 6901).")

    class Meta:
        db_table = "step_evidence"

    def __str__(self) -> str:
        return f"step {self.step_index} of run {self.run_id}"
