"""Writing and reading notices."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.utils import timezone

from compliance.alerts.models import Notice, Priority


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


@dataclass(frozen=True, slots=True)
class NoticePlace:
    """A place in an organization's notices: after which one the next page goes on."""

    unread: bool  # whether that one was unread
    at: datetime
    notice_id: UUID

    def encode(self) -> str:
        return f"{'u' if self.unread else 'r'}_{self.at.isoformat()}_{self.notice_id}"

    @classmethod
    def decode(cls, text: str) -> NoticePlace | None:
        """The place, or None when the text is none: a damaged link shows the first page."""
        kind, _, rest = text.partition("_")
        at, _, notice_id = rest.partition("_")
        try:
            place = cls(kind == "u", datetime.fromisoformat(at), UUID(notice_id))
        except ValueError:
            return None
        return place if place.at.tzinfo else None


def notice_page(
    *, organization_id: str, place: NoticePlace | None = None, size: int
) -> tuple[list[Notice], NoticePlace | None]:
    """The unread notices, the newest first, and then the others; with the place where the next page goes on.

    Costs the same at any depth. Needs the organization's scope.
    """
    every = Notice.objects.of_organization(organization_id)
    found: list[Notice] = []
    if place is None or place.unread:
        unread = every.unread()
        found += (unread.beyond(place.at, place.notice_id) if place else unread)[: size + 1]
    if len(found) <= size:
        read = every.read()
        if place is not None and not place.unread:
            read = read.beyond(place.at, place.notice_id)
        found += read[: size + 1 - len(found)]
    shown = found[:size]
    last = shown[-1] if len(found) > size else None
    return shown, NoticePlace(last.read_at is None, last.at, last.pk) if last else None
