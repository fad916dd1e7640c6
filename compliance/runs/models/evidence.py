"""The exchanges behind the steps of runs, in a table of their own: lists of runs never touch it."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from compliance.registry.models import AgentContext, has_agent
from compliance.runs import functions
from compliance.runs.models.run import ComplianceRun
from compliance.tenancy.rls import APP, ORGANIZATION, PLATFORM, Policy, RowLevelSecurity, staff_everything
from compliance.tenancy.schema import Privileges, Trigger, insert_only


class StepEvidenceQuerySet(models.QuerySet["StepEvidence"]):
    def readable_by(
        self, organization_id: str, run: ComplianceRun, context: AgentContext | None
    ) -> StepEvidenceQuerySet:
        """The evidence of a run that an organization may read: of its own run, its credential, or its verified agent.

        context: the organization's, of the agent. Row-level security says the same; this is the second lock.
        """
        allowed = Q(organization_id=organization_id) | Q(
            organization_id__isnull=True, credential_organization_id=organization_id
        )
        if context is not None and context.is_verified_owner:
            allowed |= Q(organization_id__isnull=True, credential_organization_id__isnull=True)
        # The month's partition is found by recorded_at.
        return self.filter(allowed, run_id=run.pk, recorded_at=run.recorded_at)


class StepEvidence(models.Model):
    """The exchange behind one step. Partitioned by month and expired by dropping partitions."""

    pk = models.CompositePrimaryKey("run_id", "step_index", "recorded_at")
    run_id = models.UUIDField()
    step_index = models.PositiveSmallIntegerField(help_text="The step's place in the report, from 0.")
    recorded_at = models.DateTimeField()
    agent_url = models.TextField()
    organization_id = models.CharField(
        max_length=68,
        null=True,
        blank=True,
        db_comment="The organization that caused the run. No foreign key on purpose: see"
        " agent_compliance_runs.triggered_org_id.",
    )
    # For a run with no organization: whose credential was used, who then is the only reader.
    credential_organization_id = models.CharField(max_length=68, null=True, blank=True)
    request = models.JSONField(null=True)
    response = models.JSONField(null=True)
    # No default of the database: it would be read back, and the writer may not read every row.
    pointer = models.TextField(blank=True, default="", help_text="The failing place, a JSON pointer (RFC 6901).")

    objects = StepEvidenceQuerySet.as_manager()

    class Meta:
        db_table = "step_evidence"
        constraints = [
            # Narrower than who may read the run, when it has no organization.
            RowLevelSecurity(
                [
                    Policy(
                        "readers",
                        to=APP,
                        for_="SELECT",
                        using=f"organization_id = {ORGANIZATION}"
                        f" OR (organization_id IS NULL AND credential_organization_id = {ORGANIZATION})"
                        " OR (organization_id IS NULL AND credential_organization_id IS NULL"
                        f" AND {has_agent('step_evidence', 'verified_owner')})",
                    ),
                    Policy(
                        "recording",
                        to=APP,
                        for_="INSERT",
                        check=f"organization_id = {ORGANIZATION} OR (organization_id IS NULL AND {PLATFORM})",
                    ),
                    staff_everything(),
                ]
            ),
            Privileges(app="SELECT, INSERT", staff="SELECT, INSERT"),
            insert_only(),
            # The trigger on the whole table fires for statements on the whole table; this one is copied to each
            # partition, also to those made later.
            Trigger(name="step_evidence_insert_only_rows", event="BEFORE UPDATE OR DELETE", function="refuse_change"),
            functions.ENSURE_PARTITIONS,
            functions.DROP_EXPIRED,
        ]

    def __str__(self) -> str:
        return f"step {self.step_index} of run {self.run_id}"
