"""The bar at the top of every page: a pure function of who reads, where they belong and where they are."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

from django.template.context import Context
from django.template.loader import get_template
from django.utils.safestring import SafeString

from compliance.alerts.models import COUNTED

# Stand for the form's token, which is another one each time, and for the number of unread notices, of which there
# are as many bars. Names are escaped: none can look like them.
_TOKEN = SafeString("<!--token-->")
_UNREAD = SafeString("<!--unread-->")


class Choice(NamedTuple):
    """An organization to go to."""

    slug: str
    name: str
    current: bool


class Reader(NamedTuple):
    name: str
    email: str
    is_staff: bool


def topbar(context: Context) -> SafeString:
    """The bar for the reader of a page; the template's context has the request."""
    request: Any = context.get("request")
    user = getattr(request, "user", None)
    reader: Reader | None = None
    choices: tuple[Choice, ...] = ()
    here = ""
    if user is not None and user.is_authenticated:
        reader = Reader(user.get_short_name(), user.email, user.is_staff)
        if organization := getattr(request, "organization", None):
            choices = tuple(
                Choice(m.organization.slug, m.organization.name, m.organization_id == organization.id)
                for m in request.memberships
            )
            here = _section(request)
    bar = _bar(reader, choices, here).replace(_TOKEN, _token(context))
    return SafeString(bar.replace(_UNREAD, _unread(getattr(request, "unread", 0))))


_SECTIONS = frozenset(
    ("overview", "members", "organization_settings", "suites", "suite_version", "credentials", "notices")
)


def _section(request: Any) -> str:
    match = request.resolver_match
    name = match.url_name if match else ""
    if name in _SECTIONS:
        return name
    if "/credentials/" in request.path:
        return "credential"
    if "/monitors/" in request.path:
        return "monitors" if name == "monitors" else "monitor"
    if "/runners/" in request.path:
        return "runners" if name == "runners" else "runner"
    return "agents" if "/agents/" in request.path or "/runs/" in request.path else ""


def _token(context: Context) -> str:
    token = context.get("csrf_token")
    # Letters and digits only: nothing to escape.
    return f'<input type="hidden" name="csrfmiddlewaretoken" value="{token}">' if token else ""


def _unread(count: int) -> str:
    if not count:
        return ""
    shown = str(count) if count < COUNTED else f"{COUNTED - 1}+"
    return f'<span class="count">{shown}<span class="visually-hidden"> unread</span></span>'


# Put together from twelve addresses and thirty pieces, and the same on each page that somebody opens.
@lru_cache(maxsize=512)  # about three kilobytes each
def _bar(reader: Reader | None, choices: tuple[Choice, ...], here: str) -> str:
    current = next((choice for choice in choices if choice.current), None)
    values = {
        "reader": reader,
        "choices": choices,
        "current": current,
        "here": here,
        "token": _TOKEN,
        "unread": _UNREAD,
    }
    return get_template("_nav.html").render(values)


@lru_cache
def once(name: str) -> SafeString:
    """A template that depends on nothing, rendered once a process."""
    return SafeString(get_template(name).render())
