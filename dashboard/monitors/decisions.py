"""“Why did this not run?”: what was decided about each run of the monitors."""

from __future__ import annotations

from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import reverse

from compliance.monitors.decisions import DECISIONS, decision_page
from compliance.pagination import Cursor
from dashboard.common.access import OrganizationRequest, organization_view
from dashboard.common.filters import address, as_part
from dashboard.monitors.filters import DecisionForm
from dashboard.monitors.tables import DecisionTable


@organization_view()
def decisions(request: OrganizationRequest) -> HttpResponseBase:
    """The page, or for htmx the part of it below the filters."""
    organization = request.organization
    form = DecisionForm(request.GET, organization_id=organization.id)
    page = decision_page(
        organization_id=organization.id,
        narrowed_to=form.as_filter(),
        cursor=DECISIONS.decode(request.GET.get("at", "")),
    )

    def at(cursor: Cursor | None) -> str:
        return address(request.path, request.GET, at=cursor.encode()) if cursor else ""

    count = len(page.rows)
    prefix = reverse("overview", args=[organization.slug])
    content = {
        "form": form,
        "narrowed": form.narrows,
        "table": DecisionTable(page.rows, prefix=prefix) if page.rows else None,
        "newer": at(page.previous),
        "older": at(page.next),
        "newest": address(request.path, request.GET, at="") if page.previous else "",
        "announcement": f"{count} decision{'' if count == 1 else 's'} on this page",
    }
    if request.htmx and request.htmx.target == "decisions":
        return as_part(TemplateResponse(request, "monitors/_decisions.html", content), request.path, request.GET)
    return TemplateResponse(request, "monitors/decisions.html", content)
