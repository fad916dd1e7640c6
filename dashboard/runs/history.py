"""An agent's history: the organization's own runs and the platform's, newest first."""

from __future__ import annotations

from uuid import UUID

from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import reverse

from compliance.models import AgentContext
from compliance.pagination import Cursor
from compliance.runs.history import HISTORY, history_page
from dashboard.common.access import OrganizationRequest, organization_view
from dashboard.common.filters import Narrowing, address, as_part
from dashboard.common.tables import HistoryTable


@organization_view()
def history(request: OrganizationRequest, agent: UUID) -> HttpResponseBase:
    """The page, or for htmx the part of it below the filters."""
    organization = request.organization
    context = AgentContext.objects.of(organization.id, agent)
    narrowing = Narrowing.of(request.GET)
    cursor = HISTORY.decode(request.GET.get("at", ""))
    page = history_page(
        organization_id=organization.id,
        agent_url=context.agent_id,
        narrowed_to=narrowing.narrowed_to,
        cursor=cursor,
    )

    def at(cursor: Cursor | None) -> str:
        return address(request.path, request.GET, at=cursor.encode()) if cursor else ""

    count = len(page.rows)
    content = {
        "context": context,
        "narrowing": narrowing,
        "table": HistoryTable(page.rows, prefix=reverse("overview", args=[organization.slug])) if page.rows else None,
        "looked_to": page.searched_to,
        "upwards": cursor is not None and cursor.backwards,
        "newer": at(page.previous),
        "older": at(page.next),
        "newest": address(request.path, request.GET, at="") if page.previous or (cursor and not page.rows) else "",
        "announcement": f"{count} run{'' if count == 1 else 's'} on this page",
    }
    if request.htmx and request.htmx.target == "history":
        return as_part(TemplateResponse(request, "_history.html", content), request.path, request.GET)
    return TemplateResponse(request, "history.html", content)
