"""The overview: an organization's agents, their public status and the organization's own last tests."""

from __future__ import annotations

from typing import Any

from django.core.paginator import Paginator
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import reverse

from compliance.models import AgentContextWithLatestTest
from compliance.runs.status import facets, facets_of, first_rows
from dashboard.common.access import OrganizationRequest, organization_view
from dashboard.common.filters import FACETS, STALE_DAYS, AgentFilter, address, as_part
from dashboard.common.tables import AGENTS_PER_PAGE, agents_head, agents_rows, sort_agents


@organization_view()
def overview(request: OrganizationRequest) -> HttpResponseBase:
    """The page, or for htmx the part of it below the search field."""
    organization = request.organization
    sought = status = ""
    rows: Any
    if request.GET:
        agents = AgentContextWithLatestTest.objects.of_organization(organization.id)
        narrowed = AgentFilter(request.GET, queryset=agents)
        # A damaged query string shows everything: an address is not a form that somebody fills in.
        rows = (narrowed.qs if narrowed.is_valid() else agents).failing_first().as_rows()
        rows = sort_agents(rows, request.GET.get("sort", ""))
        sought, status = (narrowed.form.cleaned_data.get(name) or "" for name in ("q", "status"))
    else:  # the page as it is opened: its first rows in their own order, without a form and a queryset
        rows = first_rows(organization_id=organization.id, length=AGENTS_PER_PAGE + 1)
    # One count of everything serves the facets and the pages' number; agents that are all here need no query for it.
    if not request.GET and len(rows) <= AGENTS_PER_PAGE:
        totals = facets_of(rows, stale_days=STALE_DAYS)
    else:
        totals = facets(organization_id=organization.id, sought=sought, stale_days=STALE_DAYS)
    counts = {"": totals.everything, **{value: getattr(totals, value) for value, _ in FACETS}}
    found = counts[status]

    base = reverse("overview", args=[organization.slug])
    paginator = Paginator(rows, AGENTS_PER_PAGE)
    paginator.count = found
    page = paginator.get_page(request.GET.get("page"))

    def at(**changes: object) -> str:
        return address(base, request.GET, **changes)

    context: dict[str, Any] = {
        "head": agents_head(request.GET),
        "rows": agents_rows(page.object_list, base=base),
        "page": page,
        "total": found,
        "nothing": not counts[""] and not sought,
        "q": sought,
        "kept": [(name, request.GET[name]) for name in ("status", "sort") if request.GET.get(name)],
        "facets": [
            {
                "value": value,
                "words": words,
                "count": counts[value],
                "href": at(status=value, page=""),
                "current": value == status,
            }
            for value, words in (("", "All"), *FACETS)
            if counts[value] or value in ("", status)
        ],
        "announcement": f"{found} agent{'' if found == 1 else 's'}",
        "previous": at(page=page.number - 1),
        "next": at(page=page.number + 1),
    }
    if request.htmx and request.htmx.target == "agents":
        return as_part(TemplateResponse(request, "_agents.html", context), base, request.GET)
    return TemplateResponse(request, "overview.html", context)
