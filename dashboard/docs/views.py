"""The guides: pages of docs/ in the dashboard's layout. They hold nothing of any organization, and anybody may read."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_safe

from dashboard.common.access import reader_view
from dashboard.docs.guides import NAMES, Guide, guide, source


@require_safe
@reader_view(anonymous=True)
def guide_index(request: HttpRequest) -> HttpResponseBase:
    """Which guides there are."""
    return TemplateResponse(request, "docs/guides.html", {"guides": _guides().values()})


@require_safe
@reader_view(anonymous=True)
def guide_page(request: HttpRequest, name: str) -> HttpResponseBase:
    """One guide. Whoever sets a runner up need not be a member."""
    guides = _guides()
    if name not in guides:
        raise Http404
    return TemplateResponse(request, "docs/guide.html", {"guide": guides[name], "guides": guides.values()})


def _guides() -> dict[str, Guide]:
    """All of them by name. Raises Http404 where docs/ was not installed."""
    try:
        return {each: guide(each) for each in NAMES}
    except FileNotFoundError:
        raise Http404 from None


@require_safe
@cache_control(public=True, max_age=3600)
def guide_text(request: HttpRequest, name: str) -> HttpResponse:
    """The same as it is written, for a terminal on a machine that has no browser."""
    if name not in NAMES:
        raise Http404
    try:
        return HttpResponse(source(name), content_type="text/plain; charset=utf-8")
    except FileNotFoundError:
        raise Http404 from None
