"""Instants in HTML: exact and in UTC here; assay.js turns them into the reader's words and zone."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

from django.utils import timezone
from django.utils.safestring import SafeString


def instant(moment: datetime | None, empty: str = "never", exact: bool = False) -> SafeString:
    """A <time> element. exact: the script shows the full date and time instead of "3 hours ago"."""
    if moment is None:
        return SafeString(empty)
    utc = (moment if moment.tzinfo is UTC else moment.astimezone(UTC)).isoformat()
    # Digits and signs of isoformat only: nothing to escape.
    return SafeString(
        f'<time datetime="{utc[:19]}Z"{" data-exact" if exact else ""}>{utc[:10]} {utc[11:16]} UTC</time>'
    )


def due(moment: datetime | None, before: str = "") -> SafeString:
    """When something is to come: its time while that is ahead, then for how long it is due. before: "next ", if ever.

    The script keeps it up to date, so that an open page does not call what is late "next".
    """
    if moment is None:
        return SafeString("never")
    utc = moment.astimezone(UTC).isoformat()
    words = (
        f"{before}{utc[:10]} {utc[11:16]} UTC" if moment > timezone.now() else f"due since {utc[:10]} {utc[11:16]} UTC"
    )
    return SafeString(f'<time datetime="{utc[:19]}Z" data-due="{before}">{words}</time>')


def lasting(since: datetime | None) -> SafeString:
    """How long something has lasted, as a <time> element that names its beginning; the script keeps it up to date."""
    if since is None:
        return SafeString("an unknown time")
    utc = since.astimezone(UTC).isoformat()
    return SafeString(
        f'<time datetime="{utc[:19]}Z" data-lasting>{span((timezone.now() - since).total_seconds())}</time>'
    )


class Utc(NamedTuple):
    """A point in time as a <time> element has it."""

    machine: str
    words: str


def utc(moment: datetime) -> Utc:
    text = (moment if moment.tzinfo is UTC else moment.astimezone(UTC)).isoformat()
    return Utc(f"{text[:19]}Z", f"{text[:10]} {text[11:16]} UTC")


def span(seconds: float) -> str:
    """A length of time in one unit: "less than a minute", "3 hours"."""
    for name, length in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            count = int(seconds // length)
            return f"{count} {name}{'' if count == 1 else 's'}"
    return "less than a minute"


def in_zone(moment: datetime, timezone: str) -> str:
    """The wall-clock time in a timezone, in words: "Monday 23 November 2026, 09:00 CET"."""
    local = moment.astimezone(ZoneInfo(timezone))
    return f"{local:%A} {local.day} {local:%B %Y, %H:%M %Z}"


def duration(milliseconds: int) -> str:
    """A length of time as people say it: "120 ms", "4.1 s", "2 min 5 s"."""
    if milliseconds < 1000:
        return f"{milliseconds} ms"
    if milliseconds < 60_000:
        return f"{milliseconds / 1000:.1f} s"
    return f"{milliseconds // 60_000} min {milliseconds % 60_000 // 1000} s"
