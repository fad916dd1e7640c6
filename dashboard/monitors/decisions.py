"""“Why did this not run?”: what was decided about each run of the monitors."""

from __future__ import annotations

from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import reverse

from compliance.monitors.decisions import decision_page
from compliance.vault.access_log import Place
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
        place=Place.decode(request.GET.get("at", "")),
    )

    def at(place: Place | None) -> str:
        return address(request.path, request.GET, at=place.encode()) if place else ""

    count = len(page.decisions)
    prefix = reverse("overview", args=[organization.slug])
    content = {
        "form": form,
        "narrowed": form.narrows,
        "table": DecisionTable(page.decisions, prefix=prefix) if page.decisions else None,
        "newer": at(page.newer),
        "older": at(page.older),
        "newest": address(request.path, request.GET, at="") if page.newer else "",
        "announcement": f"{count} decision{'' if count == 1 else 's'} on this page",
    }
    if request.htmx and request.htmx.target == "decisions":
        return as_part(TemplateResponse(request, "monitors/_decisions.html", content), request.path, request.GET)
    return TemplateResponse(request, "monitors/decisions.html", content)
