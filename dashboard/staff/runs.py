"""The record, for staff: every run, newest first. Nothing here writes."""

from __future__ import annotations

from uuid import UUID

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.safestring import SafeString, mark_safe

from compliance.models import ComplianceRun, SystemScopeUse
from compliance.pagination import Keyset
from compliance.registry.urls import InvalidAgentURL, normalize_agent_url
from dashboard.staff.history import HistoryAdmin
from dashboard.staff.run_search import newest_run_ids


@admin.register(ComplianceRun)
class RunAdmin(HistoryAdmin):
    keyset = Keyset("tested_at")
    list_display = ["tested_at", "agent_url", "overall_status", "triggered_by", "triggered_org_id", "headline", "suite"]
    list_display_links = ["tested_at"]
    list_filter = ["overall_status", "triggered_by", "dry_run"]
    list_select_related = ["suite_version__suite"]
    search_fields = ["pk"]
    search_help_text = "An agent's address, an organization's key (org_…) or a run's id, in full."
    fieldsets = [
        (None, {"fields": ["overall_status", "headline", "agent_url", "suite", "tracks"]}),
        (
            "Who caused it, and how",
            {"fields": ["triggered_by", "triggered_org_id", "actor_name", "actor_kind", "actor_id", "job_id"]},
        ),
        (
            "How it ran",
            {
                "fields": [
                    ("engine", "engine_version"),
                    ("protocol", "protocol_version"),
                    ("executor_kind", "executor_name"),
                    ("lifecycle_stage", "by_verified_owner"),
                    ("dry_run", "full_suite", "truncated", "moves_status"),
                    "harness_error",
                    ("requested_at", "tested_at", "recorded_at"),
                    "duration_ms",
                ]
            },
        ),
        ("Observations and notices", {"fields": ["observations", "notices"], "classes": ["collapse"]}),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[ComplianceRun]:
        runs = ComplianceRun.objects.all()
        match = request.resolver_match
        on_list = match is not None and (match.url_name or "").endswith("_changelist")
        return runs.narrow() if on_list else runs

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[ComplianceRun], search_term: str
    ) -> tuple[QuerySet[ComplianceRun], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        run_id = _as_uuid(term)
        if run_id is not None:
            return queryset.filter(pk=run_id), False
        try:
            wanted = {"organization_id": term} if term.startswith("org_") else {"agent_url": normalize_agent_url(term)}
        except InvalidAgentURL:
            return queryset.none(), False
        keys = newest_run_ids(
            limit=self.list_per_page + 1,
            older_than=self.cursor_of(request),
            triggered_by=request.GET.get("triggered_by__exact"),
            status=request.GET.get("overall_status__exact"),
            dry_run={"1": True, "0": False}.get(request.GET.get("dry_run__exact", "")),
            **wanted,
        )
        return queryset.filter(pk__in=keys), False

    @admin.display(description="suite")
    def suite(self, run: ComplianceRun) -> str:
        return f"{run.suite_version.suite.title} {run.suite_version.version}"

    @admin.display(description="tracks")
    def tracks(self, run: ComplianceRun) -> SafeString:
        return mark_safe(render_to_string("staff/tracks.html", {"run": run}))  # noqa: S308 (a template's output)


@admin.register(SystemScopeUse)
class SystemScopeUseAdmin(HistoryAdmin):
    """Who looked across organizations, why, and at what."""

    keyset = Keyset("at")
    list_display = ["at", "actor_name", "actor_kind", "reason", "what"]
    list_filter = ["actor_kind"]
    search_fields = ["pk"]
    search_help_text = "A look's id, in full."

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[SystemScopeUse], search_term: str
    ) -> tuple[QuerySet[SystemScopeUse], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        key = _as_uuid(term)
        return (queryset.filter(pk=key) if key else queryset.none()), False


def _as_uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
