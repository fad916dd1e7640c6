"""Lists that grow for ever: keyset pages, newest first, with no COUNT and no OFFSET."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, ClassVar

from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.db.models.expressions import Combinable
from django.http import HttpRequest, HttpResponse
from django.utils.text import capfirst

from compliance.pagination import Cursor, Keyset
from dashboard.staff.base import ReadOnlyAdmin

CURSOR = "before"

# A filter without an index is tried on so many rows of the list, then the page ends, with a link to go on:
# a rare value must not read ten million rows to fill one page.
SEARCH_AT_MOST = 20_000


class HistoryList(ChangeList):
    """One page of a list in the fixed order of HistoryAdmin.keyset.

    ModelAdmin.get_changelist is Django's way to replace a ChangeList. What it has beside get_queryset is not described
    there, but a paginator alone would not do: its pages have numbers, and so need a COUNT and an OFFSET.
    """

    model_admin: HistoryAdmin
    older: str | None = None
    newest: str | None = None
    searched_to: datetime | None = None

    def get_filters_params(self, params: dict[str, Any] | None = None) -> dict[str, Any]:
        return {key: value for key, value in super().get_filters_params(params).items() if key != CURSOR}

    def get_query_string(self, new_params: dict[str, Any] | None = None, remove: Iterable[str] | None = None) -> str:
        # Another filter or search begins at the newest row again.
        return super().get_query_string(new_params, [*(remove or []), CURSOR])

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[str | Combinable]:
        return [*self.model_admin.keyset.order()]  # whatever ?o= asks: any other order has no index

    def get_results(self, request: HttpRequest) -> None:
        keyset = self.model_admin.keyset
        cursor = self.model_admin.cursor_of(request)
        rows = self.queryset
        end = None
        if self.has_active_filters and not self.query and not self.model_admin.filters_have_index(request):
            end = keyset.end_of_search(self.root_queryset, cursor, at_most=SEARCH_AT_MOST)
            if end is not None:
                rows = rows.filter(keyset.until(end))
        found = list(keyset.after(rows, cursor)[: self.list_per_page + 1])
        page = keyset.page_of(found, cursor, size=self.list_per_page, search_ended=end)
        self.result_list = page.rows
        self.searched_to = page.searched_to
        if page.next is not None:
            self.older = self.get_query_string({CURSOR: page.next.encode()})
        if cursor is not None:
            self.newest = self.get_query_string()
        self.result_count = len(self.result_list)
        self.full_result_count = None
        self.show_full_result_count = False
        self.show_admin_actions = True
        self.can_show_all = False
        self.multi_page = False
        self.paginator = Paginator(self.result_list, self.list_per_page)


class HistoryAdmin(ReadOnlyAdmin):
    """A read-only list in the order of an indexed instant, newest first."""

    keyset: ClassVar[Keyset]
    sortable_by = ()
    change_list_template = "staff/history.html"

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return HistoryList

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return super().changelist_view(
            request, {"title": capfirst(str(self.opts.verbose_name_plural)), **(extra_context or {})}
        )

    def cursor_of(self, request: HttpRequest) -> Cursor | None:
        return self.keyset.decode(request.GET.get(CURSOR, ""))

    def filters_have_index(self, request: HttpRequest) -> bool:
        """Whether what the reader filters by is found by an index."""
        return False
