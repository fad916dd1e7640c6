"""Credential access: who used which secret for which run, when and with what result."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from typing import Any

from django.http import StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import reverse

from compliance.pagination import Cursor
from compliance.runs.models import ComplianceRun
from compliance.tenancy.scope import organization_scope
from compliance.vault.access_log import ACCESS, Access, AccessFilter, access_page
from dashboard.common.access import OrganizationRequest, organization_view
from dashboard.common.filters import address, as_part
from dashboard.credentials.forms import AccessForm
from dashboard.credentials.tables import CSV_HEADER, AccessTable, as_csv

PIECE = 1000  # rows of an export that one transaction reads


def with_run_statuses(uses: Sequence[Access]) -> list[Access]:
    """The uses, each with the status of the run that came of it. Needs organization_scope."""
    statuses = ComplianceRun.objects.statuses_of(use.run_id for use in uses)
    return [use._replace(run_status=statuses.get(use.run_id)) for use in uses]


@organization_view()
def access(request: OrganizationRequest) -> HttpResponseBase:
    """The page, or for htmx the part of it below the filters."""
    organization = request.organization
    form = AccessForm(request.GET, organization_id=organization.id)
    page = access_page(
        organization_id=organization.id,
        narrowed_to=form.as_filter(),
        cursor=ACCESS.decode(request.GET.get("at", "")),
    )

    def at(cursor: Cursor | None) -> str:
        return address(request.path, request.GET, at=cursor.encode()) if cursor else ""

    count = len(page.rows)
    content = {
        "form": form,
        "narrowed": form.narrows,
        "table": AccessTable(with_run_statuses(page.rows), prefix=reverse("overview", args=[organization.slug]))
        if page.rows
        else None,
        "newer": at(page.previous),
        "older": at(page.next),
        "newest": address(request.path, request.GET, at="") if page.previous else "",
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
    cursor: Cursor | None = None
    while True:
        # A scope for each piece: the reader may be slow.
        with organization_scope(organization_id):
            page = access_page(organization_id=organization_id, narrowed_to=narrowed_to, cursor=cursor, size=PIECE)
            uses = with_run_statuses(page.rows)
        for use in uses:
            yield writer.writerow([_harmless(value) for value in as_csv(use)])
        if page.next is None:
            return
        cursor = page.next


def _harmless(value: Any) -> Any:
    """Text that a spreadsheet does not run: what begins like a formula gets an apostrophe before it."""
    if isinstance(value, str) and value.lstrip(" ")[:1] in ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%"):
        return f"'{value}"
    return value
