"""A staff member's look across organizations: the reason they gave, for how long it counts (I7)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django import forms
from django.conf import settings
from django.http import HttpRequest
from django.utils import timezone

from compliance.models import User

_SESSION_KEY = "staff_look"


@dataclass(frozen=True, slots=True)
class Look:
    """Why somebody looks, and until when they need not say so again."""

    reason: str
    until: datetime

    @property
    def minutes_left(self) -> int:
        return max(0, int((self.until - timezone.now()).total_seconds() // 60))


class ReasonForm(forms.Form):
    reason = forms.CharField(
        label="Why are you looking?",
        min_length=5,
        max_length=300,
        help_text="A ticket, a question, an incident: what somebody will understand in a year.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "autofocus": True, "class": "vTextField"}),
    )
    next = forms.CharField(required=False, widget=forms.HiddenInput)


def begin(request: HttpRequest, reason: str) -> Look:
    """Keep the reason in the session for STAFF_LOOK_MINUTES."""
    look = Look(reason, timezone.now() + timedelta(minutes=settings.STAFF_LOOK_MINUTES))
    request.session[_SESSION_KEY] = {"by": request.user.pk, "reason": look.reason, "until": look.until.isoformat()}
    return look


def end(request: HttpRequest) -> None:
    request.session.pop(_SESSION_KEY, None)


def current(request: HttpRequest) -> Look | None:
    """The look that is under way, or None: none was begun, its time is over, or it was somebody else's."""
    kept = request.session.get(_SESSION_KEY)
    if not kept or not isinstance(request.user, User) or kept["by"] != request.user.pk:
        return None
    look = Look(kept["reason"], datetime.fromisoformat(kept["until"]))
    return look if look.until > timezone.now() else None
