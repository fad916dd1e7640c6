"""Views that change something: what a form's action refuses, and questions before what cannot be undone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django.contrib import messages
from django.forms import BaseForm
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.template.response import TemplateResponse

from compliance.tenancy.errors import Refused


@contextmanager
def refusals_in(form: BaseForm, field: str | None = None) -> Iterator[None]:
    """What the block's action refuses becomes an error of the form; the view goes on after the block."""
    try:
        yield
    except Refused as refusal:
        form.add_error(field, str(refusal))


def posted_action(request: HttpRequest, action: Callable[[], object], *, done: str, then: str) -> HttpResponseBase:
    """Carry out what a button asks for, say so (`done`) and go to the page `then`. A GET only goes there."""
    if request.method == "POST":
        action()
        messages.success(request, done)
    return redirect(then)


def confirmed_action(
    request: HttpRequest, action: Callable[[], object], *, done: str, then: str, **question: Any
) -> HttpResponseBase:
    """The same, once the reader has confirmed it. question: the arguments of ask_first."""
    return ask_first(request, **question) or posted_action(request, action, done=done, then=then)


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
    """The page that asks, or None once the reader has confirmed: in a dialog, or on that page without JavaScript.

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
