"""Suites and their versions. A published version never changes; a command publishes one."""

from __future__ import annotations

from django.contrib import admin

from compliance.models import Suite, SuiteVersion
from dashboard.staff.base import ReadOnlyAdmin


@admin.register(Suite)
class SuiteAdmin(ReadOnlyAdmin):
    list_display = ["slug", "title", "current_version"]
    list_select_related = ["current_version__suite"]
    search_fields = ["slug__startswith"]
    ordering = ["slug"]


@admin.register(SuiteVersion)
class SuiteVersionAdmin(ReadOnlyAdmin):
    list_display = ["suite", "version", "engine", "published_at"]
    list_display_links = ["version"]
    list_select_related = ["suite"]
    search_fields = ["suite__slug__startswith"]
    ordering = ["suite__slug", "-published_at", "-id"]
