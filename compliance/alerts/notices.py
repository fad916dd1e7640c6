"""Notices: what an organization is told inside the application."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db import models
from django.utils import timezone

from compliance.tenancy.ids import uuid7


class Priority(models.TextChoices):
    LOW = "low", "Low"
    NORMAL = "normal", "Normal"
    HIGH = "high", "High"


class Channel(models.TextChoices):
    """How an organization is told."""

    IN_APP = "in_app", "In Assay"
    MESSAGE = "message", "By message"
    BOTH = "both", "Both"


class Subject(models.TextChoices):
    """What a notice is about, and so which page it leads to."""

    RUNNER = "runner", "Private runner"
    MONITOR = "monitor", "Monitor"


class NoticeQuerySet(models.QuerySet["Notice"]):
    def of_organization(self, organization_id: str) -> NoticeQuerySet:
        """An organization's notices, the newest first."""
        return self.filter(organization_id=organization_id).order_by("-at", "-id")

    def unread(self) -> NoticeQuerySet:
        return self.filter(read_at=None)


class Notice(models.Model):
    """One thing that an organization is told. Its members share it: who reads it first has read it for all."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    # The database's reference to the organization is made by the migration.
    organization_id = models.CharField(max_length=68)
    at = models.DateTimeField(default=timezone.now)
    priority = models.CharField(max_length=10, choices=Priority.choices, default=Priority.NORMAL)
    subject = models.CharField(max_length=10, choices=Subject.choices)
    subject_id = models.UUIDField()
    text = models.CharField(max_length=300)
    occasion = models.CharField(max_length=200, help_text="The same occasion is told once.")
    read_at = models.DateTimeField(null=True, blank=True)

    objects = NoticeQuerySet.as_manager()

    class Meta:
        db_table = "notices"
        constraints = [
            models.UniqueConstraint(fields=["organization_id", "occasion"], name="one_notice_per_occasion"),
            models.CheckConstraint(condition=models.Q(priority__in=Priority.values), name="notice_priority_known"),
            models.CheckConstraint(condition=models.Q(subject__in=Subject.values), name="notice_subject_known"),
        ]
        indexes = [
            models.Index(fields=["organization_id", "-at", "-id"], name="notices_newest"),
            models.Index(fields=["organization_id"], name="notices_unread", condition=models.Q(read_at=None)),
        ]

    def __str__(self) -> str:
        return self.text


def tell(
    *,
    organization_id: str,
    subject: str,
    subject_id: UUID,
    text: str,
    occasion: str,
    priority: str = Priority.NORMAL,
) -> None:
    """Tell an organization something once, in the transaction that is open; the same occasion again is silent."""
    row: dict[str, Any] = {"subject": subject, "subject_id": subject_id, "text": text[:300], "priority": priority}
    notice = Notice(organization_id=organization_id, occasion=occasion[:200], **row)
    Notice.objects.bulk_create([notice], ignore_conflicts=True)


def mark_read(*, organization_id: str, notice_id: UUID | None = None) -> int:
    """Mark one notice, or all, as read; returns how many were not. Needs the organization's scope."""
    unread = Notice.objects.of_organization(organization_id).unread()
    if notice_id is not None:
        unread = unread.filter(pk=notice_id)
    return unread.order_by().update(read_at=timezone.now())
