"""Monitors, the decisions about them, and the tick's phases, for staff to read."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db.models import F, QuerySet
from django.http import HttpRequest
from django.utils import timezone

from compliance.models import Monitor, MonitorDecision, TickPhase
from compliance.pagination import Keyset
from compliance.registry.urls import InvalidAgentURL, normalize_agent_url
from dashboard.staff.base import ReadOnlyAdmin
from dashboard.staff.history import HistoryAdmin


class DueFilter(admin.SimpleListFilter):
    """Where an active monitor's next time stands. What it finds is found by an index."""

    title = "next time"
    parameter_name = "next"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("overdue", "Overdue"), ("due", "Due")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Monitor]) -> QuerySet[Monitor]:
        now = timezone.now()
        if self.value() == "due":
            return queryset.filter(state="active", next_run_at__lte=now)
        if self.value() == "overdue":
            return queryset.filter(state="active", next_run_at__lte=now - Monitor.late_after())
        return queryset


@admin.register(Monitor)
class MonitorAdmin(HistoryAdmin):
    keyset = Keyset("created_at")
    list_display = [
        "name",
        "organization",
        "address",
        "suite",
        "state",
        "next_run_at",
        "overdue",
        "last_status",
        "last_run_at",
        "failures_in_a_row",
    ]
    list_filter = [DueFilter, "state"]
    list_select_related = ["organization", "suite"]
    search_fields = ["pk"]
    search_help_text = "A monitor's id, an organization's key (org_…) or an agent's address, in full."

    def filters_have_index(self, request: HttpRequest) -> bool:
        return request.GET.get(DueFilter.parameter_name) in ("due", "overdue")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Monitor], search_term: str
    ) -> tuple[QuerySet[Monitor], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        if term.startswith("org_"):
            return queryset.filter(organization_id=term), False
        key = _as_uuid(term)
        if key is not None:
            return queryset.filter(pk=key), False
        try:
            # By the contexts, which have an index; a monitor whose agent was removed is found by its organization.
            return queryset.filter(context__agent_id=normalize_agent_url(term)), False
        except InvalidAgentURL:
            return queryset.none(), False

    @admin.display(description="agent")
    def address(self, monitor: Monitor) -> str:
        return monitor.agent_url

    @admin.display(description="overdue")
    def overdue(self, monitor: Monitor) -> str:
        return "overdue" if monitor.is_overdue else ""


@admin.register(MonitorDecision)
class MonitorDecisionAdmin(HistoryAdmin):
    """Every decision about a run of a monitor, newest first, as long as they are kept."""

    keyset = Keyset("at")
    list_display = [
        "at",
        "monitor_name",
        "outcome",
        "reason",
        "address",
        "organization",
        "scheduled_for",
        "actor_name",
    ]
    list_display_links = ["at"]
    list_filter = ["outcome"]
    search_fields = ["pk"]
    search_help_text = "A monitor's or a decision's id, or an organization's key (org_…), in full."

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[MonitorDecision], search_term: str
    ) -> tuple[QuerySet[MonitorDecision], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        if term.startswith("org_"):
            return queryset.filter(organization_id=term), False
        key = _as_uuid(term)
        if key is None:
            return queryset.none(), False
        # Indexes of decisions begin with the organization.
        organization_id = Monitor.objects.filter(pk=key).values_list("organization_id", flat=True).first()
        if organization_id is None:
            return queryset.filter(pk=key), False
        return queryset.filter(organization_id=organization_id, monitor_id=key), False

    @admin.display(description="agent")
    def address(self, decision: MonitorDecision) -> str:
        return decision.agent_url

    @admin.display(description="organization")
    def organization(self, decision: MonitorDecision) -> str:
        return decision.organization_id


@admin.register(TickPhase)
class TickPhaseAdmin(ReadOnlyAdmin):
    """The tick's state: the banner shows when one of these has not completed for too long."""

    list_display = [
        "name",
        "last_started_at",
        "last_completed_at",
        "last_duration_ms",
        "last_failed_at",
        "last_error",
    ]
    ordering = [F("last_completed_at").asc(nulls_first=True), "name"]


def _as_uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
