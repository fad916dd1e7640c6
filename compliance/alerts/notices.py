"""Writing and reading notices."""

from __future__ import annotations

from uuid import UUID

from django.utils import timezone

from compliance.alerts.models import Notice
from compliance.pagination import Keyset
from compliance.tenancy.events import Event

NOTICES = Keyset("at")


def record_notice(event: Event) -> None:
    """Keep an event as a notice, in the transaction that publishes it; the same occasion again is silent."""
    notice = Notice(
        organization_id=event.organization_id,
        subject=event.subject,
        subject_id=event.subject_id,
        text=event.text[:300],
        occasion=event.occasion[:200],
        priority=event.priority,
    )
    Notice.objects.bulk_create([notice], ignore_conflicts=True)


def mark_read(*, organization_id: str, notice_id: UUID | None = None) -> int:
    """Mark one notice, or all, as read; returns how many were not. Needs the organization's scope."""
    unread = Notice.objects.of_organization(organization_id).unread()
    if notice_id is not None:
        unread = unread.filter(pk=notice_id)
    return unread.order_by().update(read_at=timezone.now())


def notice_page(*, organization_id: str, at: str = "", size: int) -> tuple[list[Notice], str]:
    """The unread notices, the newest first, and then the others; with the `at` of the next page, "" on the last.

    at: a cursor, with u or r before it for a position among the unread or the read ones; a damaged one means the
    first page. Needs the organization's scope.
    """
    cursor = NOTICES.decode(at[1:])
    among_read = cursor is not None and at.startswith("r")
    notices = Notice.objects.of_organization(organization_id)
    found: list[Notice] = []
    if not among_read:
        found += NOTICES.after(notices.unread(), cursor)[: size + 1]
    if len(found) <= size:
        found += NOTICES.after(notices.read(), cursor if among_read else None)[: size + 1 - len(found)]
    following = NOTICES.page_of(found, None, size=size).next
    if following is None:
        return found, ""
    return found[:size], ("u" if found[size - 1].read_at is None else "r") + following.encode()
