"""Dangerous forms ask first: in a dialog where there is JavaScript, on a page where there is none."""

from __future__ import annotations

from collections.abc import Sequence

from django.http import HttpRequest
from django.template.response import TemplateResponse


def ask_first(
    request: HttpRequest,
    *,
    title: str,
    text: str,
    button: str,
    back: str,
    affected: Sequence[tuple[str, str]] = (),
    affects: str = "",
) -> TemplateResponse | None:
    """The page that asks, or None once the reader has confirmed.

    The form carries data-confirm (the text) and data-confirm-button; assay.js asks and adds the
    field that this looks for. title, text, button: what the page says; back: where "Cancel" goes.
    affected: addresses and names of what it has consequences for; affects: which they are, in words.
    """
    if request.method == "POST" and "confirmed" in request.POST:
        return None
    fields = [(name, value) for name, value in request.POST.items() if name != "csrfmiddlewaretoken"]
    context = {"title": title, "text": text, "button": button, "back": back, "fields": fields}
    context |= {"affected": affected, "affects": affects}
    return TemplateResponse(request, "common/confirm.html", context)
