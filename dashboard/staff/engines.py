"""Which engines the workers have, as they report it."""

from __future__ import annotations

from django.contrib import admin

from compliance.models import EngineHealth
from dashboard.staff.base import ReadOnlyAdmin


@admin.register(EngineHealth)
class EngineHealthAdmin(ReadOnlyAdmin):
    list_display = ["engine", "worker", "version", "available", "is_live_now", "reason", "memory_mb", "checked_at"]
    list_filter = ["available"]
    search_fields = ["engine__startswith", "worker__startswith"]
    ordering = ["engine", "worker"]

    @admin.display(boolean=True, description="Live")
    def is_live_now(self, health: EngineHealth) -> bool:
        return health.is_live
