"""Recorded access: why a staff member reads across organizations, and until when that reason counts (I7)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django import forms
from django.conf import settings
from django.http import HttpRequest
from django.utils import timezone

from compliance.models import User

_SESSION_KEY = "staff_access"


@dataclass(frozen=True, slots=True)
class Access:
    reason: str
    until: datetime

    @property
    def minutes_left(self) -> int:
        return max(0, int((self.until - timezone.now()).total_seconds() // 60))


class ReasonForm(forms.Form):
    reason = forms.CharField(
        label="Why do you need access?",
        min_length=5,
        max_length=300,
        help_text="A ticket, a question, an incident: what somebody will understand in a year.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "autofocus": True, "class": "vTextField"}),
    )
    next = forms.CharField(required=False, widget=forms.HiddenInput)


def begin(request: HttpRequest, reason: str) -> None:
    """Keep the reason in the session for STAFF_ACCESS_MINUTES."""
    until = timezone.now() + timedelta(minutes=settings.STAFF_ACCESS_MINUTES)
    request.session[_SESSION_KEY] = {"by": request.user.pk, "reason": reason, "until": until.isoformat()}


def end(request: HttpRequest) -> None:
    request.session.pop(_SESSION_KEY, None)


def current(request: HttpRequest) -> Access | None:
    """The access that was given to this user and has not ended."""
    kept = request.session.get(_SESSION_KEY)
    if not kept or not isinstance(request.user, User) or kept["by"] != request.user.pk:
        return None
    access = Access(kept["reason"], datetime.fromisoformat(kept["until"]))
    return access if access.until > timezone.now() else None
