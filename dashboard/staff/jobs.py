"""Jobs, for staff: what is queued and running, and a way to stop it."""

from __future__ import annotations

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse

from compliance.jobs.models import ACTIVE
from compliance.models import Job
from compliance.pagination import Keyset
from dashboard.staff.base import ExactSearch
from dashboard.staff.confirm import ask, confirmed, log_change
from dashboard.staff.history import HistoryAdmin


@admin.register(Job)
class JobAdmin(ExactSearch, HistoryAdmin):
    keyset = Keyset("created_at")
    list_display = [
        "created_at",
        "address",
        "state",
        "attempt",
        "lease_expires_at",
        "executor",
        "triggered_by",
        "organization",
        "suite_version",
    ]
    list_display_links = ["created_at"]
    list_filter = ["state", "triggered_by", "dry_run"]
    list_select_related = ["organization", "suite_version__suite"]
    agent_field = "agent_id"
    search_help_text = "A job's id, an agent's URL or an organization's key (org_…), in full."
    exclude = ["lease_token", "finished_token"]  # a token writes the result, or reads it
    actions = ["cancel"]

    def filters_have_index(self, request: HttpRequest) -> bool:
        return request.GET.get("state__exact") in ACTIVE

    @admin.display(description="agent")
    def address(self, job: Job) -> str:
        return job.agent_id

    @admin.display(description="executor")
    def executor(self, job: Job) -> str:
        """Its placement, and the private runner that leased it last."""
        if not job.placement.is_private:
            return job.get_executor_kind_display()
        where = f"pool {job.pool}" if job.pool else job.get_executor_kind_display()
        return f"{where}: {job.leased_by_name}" if job.leased_by_name else where

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("compliance.change_job")

    @admin.action(description="Cancel queued and running jobs", permissions=["cancel"])
    def cancel(self, request: HttpRequest, queryset: QuerySet[Job]) -> HttpResponse | None:
        keys = request.POST.getlist(ACTION_CHECKBOX_NAME)[: self.list_per_page]
        chosen = Job.objects.filter(pk__in=keys).active()
        if not confirmed(request):
            return ask(
                self,
                request,
                action="cancel",
                question="Cancel these jobs?",
                consequence="They end without a run. A result that an executor still sends is discarded.",
                rows=[(one.pk, str(one)) for one in chosen],
            )
        cancelled = [one for one in chosen if one.cancel()]
        log_change(request, cancelled, "Cancelled.")
        self.message_user(
            request,
            f"{len(cancelled)} of {len(keys)} cancelled; the others had ended."
            if len(cancelled) < len(keys)
            else f"{len(cancelled)} cancelled.",
            messages.SUCCESS if cancelled else messages.WARNING,
        )
        return None
