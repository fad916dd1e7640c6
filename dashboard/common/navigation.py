"""The bar at the top of every page: where the reader belongs, and where they are."""

from __future__ import annotations

from typing import Any, NamedTuple

from django.http import HttpRequest
from django.urls import reverse

from compliance.alerts.models import COUNTED
from compliance.models import Membership

# The first word of an address inside an organization, its words in the bar, and the name of the page it leads to.
_SECTIONS = (
    ("agents", "Agents", "overview"),
    ("monitors", "Monitors", "monitors"),
    ("runners", "Runners", "runners"),
    ("credentials", "Credentials", "credentials"),
    ("members", "Members", "members"),
    ("suites", "Suites", "suites"),
    ("settings", "Settings", "organization_settings"),
)


class Link(NamedTuple):
    href: str
    words: str
    is_active: bool  # the page belongs to this section
    is_current: bool  # it is the very page that the link leads to


def topbar_context(request: HttpRequest) -> dict[str, Any]:
    """What common/_topbar.html shows to the reader of a page. An error's page may come without a user."""
    context: dict[str, Any] = {"user": getattr(request, "user", None)}
    membership: Membership | None = getattr(request, "membership", None)
    if membership is None:
        return context
    organization = membership.organization
    match = request.resolver_match
    page, section = match.url_name if match else "", _section_of(request.path)
    unread = getattr(request, "unread", 0)
    return {
        **context,
        "organization": organization,
        "organizations": [membership.organization for membership in getattr(request, "memberships", [])],
        "links": [
            Link(
                reverse(name, args=[] if name == "suites" else [organization.slug]), words, key == section, page == name
            )
            for key, words, name in _SECTIONS
            if name != "organization_settings" or membership.may_manage
        ],
        "is_notices": page == "notices",
        "unread": f"{COUNTED - 1}+" if unread >= COUNTED else unread,
    }


def _section_of(path: str) -> str:
    parts = path.strip("/").split("/")
    if parts[0] != "o":
        return parts[0]
    section = parts[2] if len(parts) > 2 else ""
    return "agents" if section in ("", "runs", "jobs") else section
