"""Points in time and lengths of time in words. Exact and in UTC here: assay.js turns them into the reader's."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo


def iso(moment: datetime) -> str:
    """A point in time for programs, in UTC."""
    return f"{_in_utc(moment)[:19]}Z"


def utc(moment: datetime) -> str:
    """A point in time for readers, in UTC."""
    text = _in_utc(moment)
    return f"{text[:10]} {text[11:16]} UTC"


def _in_utc(moment: datetime) -> str:
    return (moment if moment.tzinfo is UTC else moment.astimezone(UTC)).isoformat()


def grouped(number: int) -> str:
    """A number with its thousands apart: "1,234"."""
    return f"{number:,}"


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
