"""Actions on chosen rows that ask before they do anything."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.contrib.admin import ModelAdmin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import CHANGE, LogEntry
from django.db.models import Model
from django.http import HttpRequest
from django.template.response import TemplateResponse


def confirmed(request: HttpRequest) -> bool:
    """Whether the person has seen the question and said yes."""
    return request.POST.get("confirmed") == "yes"


def log_change(request: HttpRequest, rows: Sequence[Model], what: str) -> None:
    """Enter the change of each row in the staff site's log, under the name of who made it."""
    assert request.user.pk is not None
    LogEntry.objects.log_actions(request.user.pk, rows, CHANGE, what)


def ask(
    admin: ModelAdmin,
    request: HttpRequest,
    *,
    action: str,
    question: str,
    consequence: str,
    rows: Iterable[tuple[Any, str]],
) -> TemplateResponse:
    """The page that names the rows, each a key and a text, and says what will happen to them."""
    context = {
        **admin.admin_site.each_context(request),
        "title": question,
        "opts": admin.opts,
        "action": action,
        "consequence": consequence,
        "rows": list(rows),
        "checkbox": ACTION_CHECKBOX_NAME,
    }
    return TemplateResponse(request, "staff/confirm.html", context)
