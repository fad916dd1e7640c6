"""Template tags and filters of the dashboard: {% load assay %}."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django import template
from django.template.context import Context
from django.utils import timezone

from compliance.models import TriggeredBy
from compliance.registry import unicode_hosts
from dashboard.common import formatting
from dashboard.common.navigation import topbar_context
from dashboard.common.verdicts import WORDS, strip_context

register = template.Library()
register.filter(formatting.duration)
register.filter(formatting.grouped)
register.filter(formatting.iso)
register.filter(formatting.utc)
register.filter(unicode_hosts.readable)


@register.filter
def words(status: str | None) -> str:
    """A status or verdict in words; of None, that there is no result yet."""
    return WORDS[status or "never"]


@register.filter
def trigger(triggered_by: str) -> str:
    """What caused a run, in words."""
    return TriggeredBy(triggered_by).label


@register.inclusion_tag("common/_badge.html")
def badge(status: str | None) -> dict[str, Any]:
    """A status or verdict as one colour, one shape and one word, the same on every page."""
    return {"status": status or "never"}


@register.inclusion_tag("common/_tally.html")
def tally(counts: dict[str, int]) -> dict[str, Any]:
    """A run's verdicts with their numbers, those that occur."""
    return {"counts": [(verdict, count) for verdict, count in counts.items() if count]}


@register.inclusion_tag("common/_instant.html")
def instant(moment: datetime | None, empty: str = "never", exact: bool = False) -> dict[str, Any]:
    """A point in time. exact: assay.js shows its full date and time instead of "3 hours ago"."""
    return {"moment": moment, "empty": empty, "exact": exact}


@register.inclusion_tag("common/_due.html")
def due(moment: datetime | None, before: str = "") -> dict[str, Any]:
    """When something is to come: its time while that is ahead, then for how long it is due. before: "next ", if ever.

    The script keeps it up to date, so that an open page does not call what is late "next".
    """
    is_ahead = moment is not None and moment > timezone.now()
    return {"moment": moment, "before": before, "is_ahead": is_ahead}


@register.inclusion_tag("common/_lasting.html")
def lasting(since: datetime | None) -> dict[str, Any]:
    """How long something has lasted; the script keeps it up to date."""
    if since is None:
        return {}
    return {"since": since, "words": formatting.span((timezone.now() - since).total_seconds())}


@register.inclusion_tag("common/_strip.html")
def strip(verdicts: Sequence[str], wide: bool = False) -> dict[str, Any]:
    """The last runs' verdicts, oldest first, as bars; the newest stands at the right."""
    return {**strip_context(verdicts), "wide": wide}


@register.filter
def oldest_first(verdicts: str) -> list[str]:
    """Verdicts with blanks between, the newest first, as a strip takes them."""
    return verdicts.split()[::-1]


@register.inclusion_tag("common/_topbar.html", takes_context=True)
def topbar(context: Context) -> dict[str, Any]:
    """The bar at the top of the page."""
    return topbar_context(context["request"]) if "request" in context else {}
