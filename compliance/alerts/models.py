"""Notices: what an organization is told inside the application."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone

from compliance.tenancy.events import Priority, Subject
from compliance.tenancy.ids import uuid7
from compliance.tenancy.rls import isolated
from compliance.tenancy.schema import Privileges, deleted_with_organization

COUNTED = 100  # unread notices; more are shown as "99+"


class NoticeQuerySet(models.QuerySet["Notice"]):
    def of_organization(self, organization_id: str) -> NoticeQuerySet:
        """An organization's notices, the newest first."""
        return self.filter(organization_id=organization_id).order_by("-at", "-id")

    def unread(self) -> NoticeQuerySet:
        return self.filter(read_at=None)

    def read(self) -> NoticeQuerySet:
        return self.exclude(read_at=None)

    def mark_read(self) -> int:
        """Mark those as read that are not; returns how many."""
        return self.unread().order_by().update(read_at=timezone.now())

    def unread_count(self, organization_id: str) -> int:
        """How many of an organization's notices nobody has read, COUNTED at most."""
        return self.filter(organization_id=organization_id).unread()[:COUNTED].count()


class Notice(models.Model):
    """One thing that an organization is notified of. Its members share it: who reads it first has read it for all."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    # The database's reference, below, takes the notices along with their organization.
    organization_id = models.CharField(max_length=68)
    at = models.DateTimeField(default=timezone.now)
    priority = models.CharField(max_length=10, choices=Priority.choices, default=Priority.NORMAL)
    subject = models.CharField(max_length=10, choices=Subject.choices)
    subject_id = models.UUIDField()
    text = models.CharField(max_length=300)
    occasion = models.CharField(max_length=200, help_text="Each occasion has one notice.")
    read_at = models.DateTimeField(null=True, blank=True)

    objects = NoticeQuerySet.as_manager()

    class Meta:
        db_table = "notices"
        constraints = [
            models.UniqueConstraint(fields=["organization_id", "occasion"], name="one_notice_per_occasion"),
            models.CheckConstraint(condition=Q(priority__in=Priority.values), name="notice_priority_known"),
            models.CheckConstraint(condition=Q(subject__in=Subject.values), name="notice_subject_known"),
            deleted_with_organization("notices_organization_fk"),
            isolated(),
            Privileges(app="SELECT, INSERT, UPDATE (read_at)", staff="SELECT"),
        ]
        indexes = [
            models.Index(fields=["organization_id", "-at", "-id"], name="notices_newest"),
            models.Index(fields=["organization_id"], name="notices_unread", condition=Q(read_at=None)),
        ]

    def __str__(self) -> str:
        return self.text
