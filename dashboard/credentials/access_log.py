"""Credential access: who used which secret for which run, when and with what result."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import Any

from django.http import StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import reverse

from compliance.vault.access_log import AccessFilter, Place, access_page, every_access
from dashboard.common.access import OrganizationRequest, organization_view
from dashboard.common.filters import address, as_part
from dashboard.credentials.forms import AccessForm
from dashboard.credentials.tables import CSV_HEADER, AccessTable, as_csv


@organization_view()
def access(request: OrganizationRequest) -> HttpResponseBase:
    """The page, or for htmx the part of it below the filters."""
    organization = request.organization
    form = AccessForm(request.GET, organization_id=organization.id)
    page = access_page(
        organization_id=organization.id,
        narrowed_to=form.as_filter(),
        place=Place.decode(request.GET.get("at", "")),
    )

    def at(place: Place | None) -> str:
        return address(request.path, request.GET, at=place.encode()) if place else ""

    count = len(page.uses)
    content = {
        "form": form,
        "narrowed": form.narrows,
        "table": AccessTable(page.uses, prefix=reverse("overview", args=[organization.slug])) if page.uses else None,
        "newer": at(page.newer),
        "older": at(page.older),
        "newest": address(request.path, request.GET, at="") if page.newer else "",
        "export": address(reverse("credential_access_csv", args=[organization.slug]), request.GET, at=""),
        "announcement": f"{count} use{'' if count == 1 else 's'} on this page",
    }
    if request.htmx and request.htmx.target == "access":
        return as_part(TemplateResponse(request, "credentials/_access.html", content), request.path, request.GET)
    return TemplateResponse(request, "credentials/access.html", content)


@organization_view()
def access_csv(request: OrganizationRequest) -> HttpResponseBase:
    """The same uses, all of them, as a file. Read and sent in pieces."""
    narrowed_to = AccessForm(request.GET, organization_id=request.organization.id).as_filter()
    lines = _lines(request.organization.id, narrowed_to)
    response = StreamingHttpResponse(lines, content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="credential-access-{request.organization.slug}.csv"'
    return response


class _Line:
    """What csv.writer writes to: it hands each line back."""

    def write(self, text: str) -> str:
        return text


def _lines(organization_id: str, narrowed_to: AccessFilter) -> Iterator[str]:
    writer = csv.writer(_Line())
    yield writer.writerow(CSV_HEADER)
    for use in every_access(organization_id=organization_id, narrowed_to=narrowed_to):
        yield writer.writerow([_harmless(value) for value in as_csv(use)])


def _harmless(value: Any) -> Any:
    """Text that a spreadsheet does not run: what begins like a formula gets an apostrophe before it."""
    if isinstance(value, str) and value.lstrip(" ")[:1] in ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%"):
        return f"'{value}"
    return value
