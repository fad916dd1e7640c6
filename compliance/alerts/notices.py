"""Writing and reading notices."""

from __future__ import annotations

from dataclasses import dataclass

from compliance.alerts.models import Notice
from compliance.pagination import Cursor, Keyset
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


@dataclass(frozen=True, slots=True)
class NoticeCursor:
    """A position in an organization's notices: among the unread ones, which come first, or the read ones."""

    among_unread: bool
    cursor: Cursor

    def encode(self) -> str:
        return ("u" if self.among_unread else "r") + self.cursor.encode()

    @classmethod
    def decode(cls, text: str) -> NoticeCursor | None:
        """The position, or None when the text is none."""
        cursor = NOTICES.decode(text[1:])
        return cls(text.startswith("u"), cursor) if cursor else None


def notice_page(
    *, organization_id: str, cursor: NoticeCursor | None = None, size: int
) -> tuple[list[Notice], NoticeCursor | None]:
    """The unread notices, the newest first, and then the others; with the cursor of the next page.

    Needs the organization's scope.
    """
    notices = Notice.objects.of_organization(organization_id)
    found: list[Notice] = []
    if cursor is None or cursor.among_unread:
        found += NOTICES.after(notices.unread(), cursor.cursor if cursor else None)[: size + 1]
        cursor = None
    if len(found) <= size:
        found += NOTICES.after(notices.read(), cursor.cursor if cursor else None)[: size + 1 - len(found)]
    following = NOTICES.page_of(found, None, size=size).next
    return found[:size], NoticeCursor(found[size - 1].read_at is None, following) if following else None
