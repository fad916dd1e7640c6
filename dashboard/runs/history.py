"""An agent's history: the organization's own runs and the platform's, newest first."""

from __future__ import annotations

from uuid import UUID

from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse

from compliance.models import AgentContext
from compliance.runs.history import HISTORY, history_page
from dashboard.common.access import OrganizationRequest, organization_view
from dashboard.common.filters import as_part
from dashboard.runs.filters import RunFilter
from dashboard.runs.tables import RunTable


@organization_view()
def history(request: OrganizationRequest, agent: UUID) -> HttpResponseBase:
    """The page, or for htmx the part of it below the filters."""
    organization = request.organization
    context = AgentContext.objects.of(organization.id, agent)
    narrowed = RunFilter(request.GET)
    cursor = HISTORY.decode(request.GET.get("at", ""))
    page = history_page(
        organization_id=organization.id,
        agent_url=context.agent_id,
        narrowed_to=narrowed.as_history_filter(),
        cursor=cursor,
    )
    content = {
        "context": context,
        "filter": narrowed,
        "table": RunTable(page.rows),
        "page": page,
        "upwards": cursor is not None and cursor.backwards,
        "is_lost": cursor is not None and not page.rows,
    }
    if request.htmx and request.htmx.target == "history":
        return as_part(TemplateResponse(request, "runs/_history.html", content), request.path, request.GET)
    return TemplateResponse(request, "runs/history.html", content)
