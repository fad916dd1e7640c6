"""Private runners and API keys. No secret is shown, not even as a hash."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from compliance.models import ApiKey, Runner
from dashboard.staff.base import ExactSearch, ReadOnlyAdmin


@admin.register(Runner)
class RunnerAdmin(ExactSearch, ReadOnlyAdmin):
    ordering = ["-id"]
    list_display = ["name", "organization", "pool", "state", "online", "last_seen_at", "version", "last_error"]
    list_filter = ["state"]
    list_select_related = ["organization"]
    search_help_text = "A runner's id or an organization's key (org_…), in full."

    @admin.display(boolean=True, description="online")
    def online(self, runner: Runner) -> bool:
        return runner.is_online


@admin.register(ApiKey)
class ApiKeyAdmin(ExactSearch, ReadOnlyAdmin):
    ordering = ["-id"]
    list_display = ["name", "organization", "prefix", "may", "expires_at", "revoked_at", "last_used_at", "created_by"]
    list_select_related = ["organization"]
    search_help_text = "A key's id, its public part (8 characters) or an organization's key (org_…), in full."
    fields = [
        *("name", "organization", "prefix", "may", "runner_id", "created_at", "created_by"),
        *("expires_at", "revoked_at", "revoked_by", "last_used_at"),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[ApiKey]:
        return super().get_queryset(request).defer("secret_hash")  # staff has no right to it

    def find_other(self, queryset: QuerySet[Any], term: str) -> QuerySet[Any]:
        return queryset.filter(prefix=term)

    @admin.display(description="may")
    def may(self, key: ApiKey) -> str:
        return key.scope_words
