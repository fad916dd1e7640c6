"""From outside: deliveries of registries and deploy systems, and what came of each."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from compliance.jobs.models import Job
from compliance.registry.urls import MAX_LENGTH
from compliance.tenancy.ids import uuid7
from compliance.tenancy.rls import OWNER, Policy, RowLevelSecurity, platform_rows, staff_reads
from compliance.tenancy.schema import Privileges, deleted_when_old, insert_only
from compliance.webhooks import functions

SOURCE_LENGTH, DELIVERY_LENGTH, KIND_LENGTH = 60, 200, 100


class DeliveryOutcome(models.TextChoices):
    REQUESTED = "requested", "A test was requested"
    UNDER_WAY = "under_way", "A test was under way"
    COOLDOWN = "cooldown", "Too soon after the last one"
    CONCURRENCY = "concurrency", "As many tests as its owner allows were under way"
    UNKNOWN = "unknown_agent", "Nobody has the agent"
    OPTED_OUT = "opted_out", "The agent is opted out"
    PAUSED = "paused", "The agent is paused"
    NOT_VISITED = "not_visited", "The agent is in development or retired"
    IGNORED = "ignored", "Not a kind of event that is acted on"


WITH_REQUEST = (DeliveryOutcome.REQUESTED, DeliveryOutcome.UNDER_WAY)


class WebhookDelivery(models.Model):
    """One signed event. It belongs to no organization, and is only ever added to; old ones are forgotten."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    source = models.CharField(max_length=SOURCE_LENGTH)
    delivery_id = models.CharField(max_length=DELIVERY_LENGTH, help_text="As its source calls it: the webhook-id.")
    received_at = models.DateTimeField(db_default=Now(), editable=False, help_text="By the database's clock.")
    kind = models.CharField(max_length=KIND_LENGTH, help_text="The type of the event.")
    # No foreign key: sources name addresses that nobody registered.
    agent_url = models.TextField("agent", blank=True)
    outcome = models.CharField(max_length=20, choices=DeliveryOutcome.choices)
    job = models.ForeignKey(Job, on_delete=models.DO_NOTHING, null=True, blank=True, db_index=False, related_name="+")

    class Meta:
        db_table = "webhook_deliveries"
        verbose_name = "webhook delivery"
        verbose_name_plural = "webhook deliveries"
        constraints = [
            models.UniqueConstraint(fields=["delivery_id", "source"], name="one_answer_per_delivery"),
            models.CheckConstraint(condition=Q(outcome__in=DeliveryOutcome.values), name="delivery_outcome_known"),
            models.CheckConstraint(
                condition=Q(outcome__in=[*WITH_REQUEST], job__isnull=False)
                | (~Q(outcome__in=[*WITH_REQUEST]) & Q(job__isnull=True)),
                name="delivery_job_iff_tested",
            ),
            models.CheckConstraint(condition=Q(agent_url__length__lte=MAX_LENGTH), name="delivery_url_length"),
            RowLevelSecurity(
                [
                    platform_rows(),
                    staff_reads(),
                    Policy("forgetting", to=OWNER, using="received_at < (now() - interval '7 days')", check="false"),
                ]
            ),
            Privileges(app="SELECT, INSERT", staff="SELECT"),
            insert_only("UPDATE OR TRUNCATE"),
            deleted_when_old(),
            functions.FORGET_DELIVERIES,
        ]
        indexes = [
            models.Index(fields=["-received_at", "-id"], name="deliveries_newest"),
            models.Index(fields=["agent_url", "-received_at", "-id"], name="deliveries_of_agent"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} from {self.source}, {self.get_outcome_display().lower()}"

    @property
    def public_outcome(self) -> str:
        """What its source learns: why an agent is not tested is between the agent and those who have it."""
        hidden = (DeliveryOutcome.OPTED_OUT, DeliveryOutcome.PAUSED, DeliveryOutcome.NOT_VISITED)
        return DeliveryOutcome.UNKNOWN if self.outcome in hidden else self.outcome
