"""Monitors, the decisions about them, and the phases of the tick."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db.models import F, QuerySet
from django.http import HttpRequest
from django.utils import timezone

from compliance.models import HeartbeatDecision, Monitor, MonitorDecision, TickPhase
from compliance.pagination import Keyset
from dashboard.staff.base import ExactSearch, ReadOnlyAdmin
from dashboard.staff.history import HistoryAdmin


class DueFilter(admin.SimpleListFilter):
    """Active monitors whose next time has come, or has passed long ago. An index finds them."""

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
class MonitorAdmin(ExactSearch, HistoryAdmin):
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
    # Contexts have an index by agent; a monitor whose agent was removed is found by its organization.
    agent_field = "context__agent_id"
    search_help_text = "A monitor's id, an organization's key (org_…) or an agent's URL, in full."

    def filters_have_index(self, request: HttpRequest) -> bool:
        return request.GET.get(DueFilter.parameter_name) in ("due", "overdue")

    @admin.display(description="agent")
    def address(self, monitor: Monitor) -> str:
        return monitor.agent_url

    @admin.display(description="overdue")
    def overdue(self, monitor: Monitor) -> str:
        return "overdue" if monitor.is_overdue else ""


@admin.register(MonitorDecision)
class MonitorDecisionAdmin(ExactSearch, HistoryAdmin):
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
    search_help_text = "A monitor's or a decision's id, or an organization's key (org_…), in full."

    def find_key(self, queryset: QuerySet[MonitorDecision], key: UUID) -> QuerySet[MonitorDecision]:
        # Indexes of decisions begin with the organization.
        organization_id = Monitor.objects.filter(pk=key).values_list("organization_id", flat=True).first()
        if organization_id is None:
            return queryset.filter(pk=key)
        return queryset.filter(organization_id=organization_id, monitor_id=key)

    @admin.display(description="agent")
    def address(self, decision: MonitorDecision) -> str:
        return decision.agent_url

    @admin.display(description="organization")
    def organization(self, decision: MonitorDecision) -> str:
        return decision.organization_id


@admin.register(HeartbeatDecision)
class HeartbeatDecisionAdmin(ExactSearch, HistoryAdmin):
    """Heartbeats that were due and were not made, newest first, as long as they are kept."""

    keyset = Keyset("at")
    list_display = ["at", "agent_url", "outcome", "reason", "scheduled_for"]
    list_display_links = ["at"]
    list_filter = ["outcome"]
    organization_field, agent_field = "", "agent_url"
    search_help_text = "An agent's URL, in full."


@admin.register(TickPhase)
class TickPhaseAdmin(ReadOnlyAdmin):
    """The staff site shows a banner when one of these has not completed for too long."""

    list_display = [
        "name",
        "last_started_at",
        "last_completed_at",
        "last_duration_ms",
        "last_failed_at",
        "last_error",
    ]
    ordering = [F("last_completed_at").asc(nulls_first=True), "name"]
