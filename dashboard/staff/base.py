"""What the admins of the staff site have in common."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import admin
from django.contrib.admin import ShowFacets, SimpleListFilter
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse

from compliance.registry.urls import InvalidAgentURL, normalize_agent_url


class StaffAdmin(admin.ModelAdmin):
    """All staff may view; changes need Django's permission for them."""

    show_full_result_count = False
    show_facets = ShowFacets.NEVER  # a facet is a COUNT for each of its values
    list_per_page = 50
    list_max_show_all = 0

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Only the parameters of list_filter: others would find a hidden field, such as a password, bit by bit."""
        allowed: set[str] = set()
        for declared in self.get_list_filter(request):
            if isinstance(declared, str):
                allowed |= {f"{declared}__exact", f"{declared}__isnull"}
            else:
                assert isinstance(declared, type)
                assert issubclass(declared, SimpleListFilter)
                allowed.add(str(declared.parameter_name))
        return lookup in allowed

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        for chosen in request.POST.getlist(ACTION_CHECKBOX_NAME):
            self.opts.pk.to_python(chosen)  # what is no key is refused before it is looked for
        return super().changelist_view(request, extra_context)

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


class ExactSearch(admin.ModelAdmin):
    """Searches for a whole key, organization or agent, each of which an index finds, instead of parts of texts."""

    search_fields = ("pk",)
    organization_field = "organization_id"  # the fields that a search for org_… and for a URL reads; empty: none
    agent_field = ""

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        return (self.find(request, queryset, term) if term else queryset), False

    def find(self, request: HttpRequest, queryset: QuerySet[Any], term: str) -> QuerySet[Any]:
        key = as_uuid(term)
        if key is not None:
            return self.find_key(queryset, key)
        if term.startswith("org_") and self.organization_field:
            return queryset.filter(**{self.organization_field: term})
        url = as_agent_url(term)
        if url is not None and self.agent_field:
            return queryset.filter(**{self.agent_field: url})
        return self.find_other(queryset, term)

    def find_key(self, queryset: QuerySet[Any], key: UUID) -> QuerySet[Any]:
        return queryset.filter(pk=key)

    def find_other(self, queryset: QuerySet[Any], term: str) -> QuerySet[Any]:
        return queryset.none()


def as_uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def as_agent_url(text: str) -> str | None:
    try:
        return normalize_agent_url(text)
    except InvalidAgentURL:
        return None
