"""What the pages of the staff site have in common."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin import ShowFacets
from django.http import HttpRequest


class StaffAdmin(admin.ModelAdmin):
    """All staff may look; changes need Django's permission for them."""

    show_full_result_count = False
    show_facets = ShowFacets.NEVER  # a facet is a COUNT for each of its values
    list_per_page = 50
    list_max_show_all = 0

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.admin_site.has_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.admin_site.has_permission(request)


class ReadOnlyAdmin(StaffAdmin):
    """Nothing can be added, changed or deleted, whatever permissions somebody has."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
