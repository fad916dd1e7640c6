"""Credential access: who used which secret for which run, when and with what result."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from django.http import StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import reverse

from compliance.pagination import Cursor
from compliance.runs.models import ComplianceRun
from compliance.tenancy.scope import organization_scope
from compliance.vault.access_log import ACCESS, access_page
from compliance.vault.models import CredentialUse, CredentialUseQuerySet
from dashboard.common.access import OrganizationRequest, organization_view
from dashboard.common.filters import address, page_or_part
from dashboard.credentials.filters import AccessFilterSet
from dashboard.credentials.tables import AccessTable

PIECE = 1000  # rows of an export that one transaction reads
# The columns of an export: headings, and the fields of a use.
CSV_COLUMNS = {
    "at": "at",
    "result": "result",
    "reason": "reason",
    "credential": "credential_name",
    "credential_id": "credential_id",
    "credential_version": "credential_version",
    "sent_to": "sent_to",
    "agent": "agent_name",
    "agent_url": "agent_url",
    "triggered_by": "triggered_by",
    "actor": "actor_name",
    "run_id": "run_id",
    "run_status": "run_status",
    "job_id": "job_id",
    "grant_id": "grant_id",
    "runner": "executor_name",
}


def with_run_statuses(uses: Sequence[CredentialUse]) -> Sequence[CredentialUse]:
    """The uses, each with the status of the run that came of it. Needs organization_scope."""
    statuses = ComplianceRun.objects.statuses_of(use.run_id for use in uses)
    for use in uses:
        use.run_status = statuses.get(use.run_id)
    return uses


@organization_view()
def access(request: OrganizationRequest) -> HttpResponseBase:
    """The page, or for htmx the part of it below the filters."""
    organization = request.organization
    filterset = AccessFilterSet(request.GET, organization_id=organization.id)
    page = access_page(
        filterset.uses(),
        organization_id=organization.id,
        cursor=ACCESS.decode(request.GET.get("at", "")),
    )
    content = {
        "filter": filterset,
        "page": page,
        "table": AccessTable(with_run_statuses(page.rows)),
        "export": address(reverse("credential_access_csv", args=[organization.slug]), request.GET, at=""),
    }
    return page_or_part(request, "credentials/access.html", "credentials/_access.html", content)


@organization_view()
def access_csv(request: OrganizationRequest) -> HttpResponseBase:
    """The same uses, all of them, as a file. Read and sent in pieces."""
    uses = AccessFilterSet(request.GET, organization_id=request.organization.id).uses()
    lines = _lines(request.organization.id, uses)
    response = StreamingHttpResponse(lines, content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="credential-access-{request.organization.slug}.csv"'
    return response


class _Line:
    """What csv.writer writes to: it hands each line back."""

    def write(self, text: str) -> str:
        return text


def _lines(organization_id: str, all_uses: CredentialUseQuerySet) -> Iterator[str]:
    writer = csv.writer(_Line())
    yield writer.writerow(CSV_COLUMNS)
    cursor: Cursor | None = None
    while True:
        # A scope for each piece: the reader may be slow.
        with organization_scope(organization_id):
            page = access_page(all_uses, organization_id=organization_id, cursor=cursor, size=PIECE)
            uses = with_run_statuses(page.rows)
        for use in uses:
            yield writer.writerow([_harmless(getattr(use, name)) for name in CSV_COLUMNS.values()])
        if page.next is None:
            return
        cursor = page.next


def _harmless(value: Any) -> Any:
    """Text that a spreadsheet does not run: what begins like a formula gets an apostrophe before it."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, str) and value.lstrip(" ")[:1] in ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%"):
        return f"'{value}"
    return value
