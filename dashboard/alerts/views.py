"""Notices: what an organization is notified of. Its members share them: who marks one as read has read it for all."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.template.response import TemplateResponse

from compliance.alerts.notices import NoticeCursor, notice_page
from compliance.models import Notice
from dashboard.alerts.tables import NoticeTable
from dashboard.common.access import OrganizationRequest, organization_view

PAGE_SIZE = 50


@organization_view()
def notices(request: OrganizationRequest) -> HttpResponseBase:
    """The unread ones, then the others."""
    organization = request.organization
    cursor = NoticeCursor.decode(request.GET.get("at", ""))
    shown, older = notice_page(organization_id=organization.id, cursor=cursor, size=PAGE_SIZE)
    content = {"table": NoticeTable(shown), "page": {"next": older}, "is_lost": cursor is not None}
    return TemplateResponse(request, "alerts/notices.html", content)


@organization_view()
def notice_read(request: OrganizationRequest, notice: UUID) -> HttpResponseBase:
    """Mark one as read."""
    found = Notice.objects.of_organization(request.organization.id).filter(pk=notice)
    found.get()
    if request.method == "POST":
        found.mark_read()
    return redirect("notices", request.organization.slug)


@organization_view()
def notices_read(request: OrganizationRequest) -> HttpResponseBase:
    """Mark all as read."""
    if request.method == "POST":
        count = Notice.objects.of_organization(request.organization.id).mark_read()
        messages.success(request, f"{count} notice{'' if count == 1 else 's'} marked as read.")
    return redirect("notices", request.organization.slug)
