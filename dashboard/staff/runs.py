"""The run history, and the record of access across organizations. Nothing here writes."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import OuterRef, QuerySet
from django.http import HttpRequest
from django.template.loader import render_to_string

from compliance.models import AgentContext, ComplianceRun, SystemScopeUse
from compliance.pagination import Keyset
from compliance.runs.models import AgentRunTotal
from dashboard.staff.base import ExactSearch, as_agent_url, as_uuid
from dashboard.staff.history import HistoryAdmin


@admin.register(ComplianceRun)
class RunAdmin(ExactSearch, HistoryAdmin):
    keyset = Keyset("tested_at")
    list_display = ["tested_at", "agent_url", "overall_status", "triggered_by", "triggered_org_id", "headline", "suite"]
    list_display_links = ["tested_at"]
    list_filter = ["overall_status", "triggered_by", "dry_run"]
    list_select_related = ["suite_version__suite"]
    organization_field = "triggered_org_id"
    search_help_text = "An agent's URL, an organization's key (org_…) or a run's id, in full."
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

    def find(self, request: HttpRequest, queryset: QuerySet[ComplianceRun], term: str) -> QuerySet[ComplianceRun]:
        url = as_agent_url(term)
        if url is None or as_uuid(term) is not None:
            return super().find(request, queryset, term)
        # Indexes begin with the organization: first who has the agent, or had it, then the newest runs of each.
        newest = self.keyset.after(queryset.filter(agent_url=url), self.cursor_of(request)).values("pk")
        of_each = ArraySubquery(newest.filter(triggered_org_id=OuterRef("organization_id"))[: self.list_per_page + 1])
        keys = set(newest.filter(triggered_org_id=None).values_list("pk", flat=True)[: self.list_per_page + 1])
        for having in (AgentContext.objects.filter(agent_id=url), AgentRunTotal.objects.filter(agent_url=url)):
            keys.update(*having.values_list(of_each, flat=True))
        return queryset.filter(pk__in=keys)

    @admin.display(description="suite")
    def suite(self, run: ComplianceRun) -> str:
        return f"{run.suite_version.suite.title} {run.suite_version.version}"

    @admin.display(description="tracks")
    def tracks(self, run: ComplianceRun) -> str:
        return render_to_string("staff/tracks.html", {"run": run})


@admin.register(SystemScopeUse)
class SystemScopeUseAdmin(ExactSearch, HistoryAdmin):
    """Which staff member or process read across organizations, why, and what."""

    keyset = Keyset("at")
    list_display = ["at", "actor_name", "actor_kind", "reason", "what"]
    list_filter = ["actor_kind"]
    organization_field = ""
    search_help_text = "The id of an access record, in full."
