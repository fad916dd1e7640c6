"""Agents: registering one, its page, its settings."""

from __future__ import annotations

from django.http import Http404
from django.http.response import HttpResponseBase

from compliance.models import Role
from dashboard.access import OrganizationRequest, organization_view


@organization_view(Role.ADMIN)
def agent_add(request: OrganizationRequest) -> HttpResponseBase:
    raise Http404
