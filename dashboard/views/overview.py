"""The overview: an organization's agents."""

from __future__ import annotations

from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse

from dashboard.access import OrganizationRequest, organization_view


@organization_view()
def overview(request: OrganizationRequest) -> HttpResponseBase:
    return TemplateResponse(request, "overview.html", {})
