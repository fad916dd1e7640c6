"""The overview: an organization's agents, their public status and the organization's own last tests."""

from __future__ import annotations

from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse

from compliance.models import AgentContextWithLatestTest
from compliance.runs.status import facets
from dashboard.agents.filters import FACETS, STALE_DAYS, AgentFilter
from dashboard.agents.tables import AgentTable
from dashboard.common.access import OrganizationRequest, organization_view
from dashboard.common.filters import as_part


@organization_view()
def overview(request: OrganizationRequest) -> HttpResponseBase:
    """The page, or for htmx the part of it below the search field."""
    organization = request.organization
    agents = AgentContextWithLatestTest.objects.of_organization(organization.id)
    narrowed = AgentFilter(request.GET, queryset=agents)
    sought, status = narrowed.chosen.get("q") or "", narrowed.chosen.get("status") or ""
    totals = facets(organization_id=organization.id, sought=sought, stale_days=STALE_DAYS)
    counts = {"": totals.everything, **{value: getattr(totals, value) for value, _ in FACETS}}
    context = {
        "table": AgentTable(narrowed.qs.failing_first().as_rows()).on_page(request, count=counts[status]),
        "total": counts[status],
        "is_empty": not counts[""] and not sought,
        "sought": sought,
        "kept": [(name, request.GET[name]) for name in ("status", "sort") if request.GET.get(name)],
        "status": status,
        "facets": [
            (value, words, counts[value])
            for value, words in (("", "All"), *FACETS)
            if counts[value] or value in ("", status)
        ],
    }
    if request.htmx and request.htmx.target == "agents":
        return as_part(TemplateResponse(request, "agents/_list.html", context), request.path, request.GET)
    return TemplateResponse(request, "agents/list.html", context)
