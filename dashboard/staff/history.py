"""Lists that grow for ever: keyset pages, newest first, with no COUNT and no OFFSET."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.db.models import Q, QuerySet
from django.db.models.expressions import Combinable
from django.http import HttpRequest, HttpResponse
from django.utils.text import capfirst

from compliance.runs.history import Cursor
from dashboard.staff.base import ReadOnlyAdmin

CURSOR = "before"

# A filter without an index is tried on so many rows of the list, then the page ends, with a link to go on:
# a rare value must not read ten million rows to fill one page.
ROWS_LOOKED_THROUGH = 20_000


class HistoryList(ChangeList):
    """One page of a list in the fixed order of HistoryAdmin.instant, then key."""

    model_admin: HistoryAdmin
    older: str | None = None
    newest: str | None = None
    looked_back_to: datetime | None = None

    def get_filters_params(self, params: dict[str, Any] | None = None) -> dict[str, Any]:
        return {key: value for key, value in super().get_filters_params(params).items() if key != CURSOR}

    def get_query_string(self, new_params: dict[str, Any] | None = None, remove: Iterable[str] | None = None) -> str:
        # Another filter or search begins at the newest row again.
        return super().get_query_string(new_params, [*(remove or []), CURSOR])

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[str | Combinable]:
        return [*self._order]  # whatever ?o= asks: any other order has no index

    def get_results(self, request: HttpRequest) -> None:
        cursor = cursor_of(request)
        rows = self.queryset
        if cursor is not None:
            rows = rows.filter(self.model_admin.beside("lt", cursor.tested_at, cursor.run_id))
        edge = None
        if self.has_active_filters and not self.query and not self.model_admin.filters_have_index(request):
            edge = self._edge(cursor)
            if edge is not None:
                rows = rows.filter(self.model_admin.beside("gte", *edge))
        found = list(rows[: self.list_per_page + 1])
        self.result_list = found[: self.list_per_page]
        last: tuple[datetime, UUID] | None = None
        if len(found) > self.list_per_page:
            last = (getattr(found[-2], self.model_admin.instant), found[-2].pk)
        elif edge is not None:
            last = edge
            self.looked_back_to = edge[0]
        if last is not None:
            self.older = self.get_query_string({CURSOR: Cursor(*last).encode()})
        if cursor is not None:
            self.newest = self.get_query_string()
        self.result_count = len(self.result_list)
        self.full_result_count = None
        self.show_full_result_count = False
        self.show_admin_actions = True
        self.can_show_all = False
        self.multi_page = False
        self.paginator = Paginator(self.result_list, self.list_per_page)

    def _edge(self, cursor: Cursor | None) -> tuple[datetime, UUID] | None:
        rows = self.root_queryset.order_by(*self._order)
        if cursor is not None:
            rows = rows.filter(self.model_admin.beside("lt", cursor.tested_at, cursor.run_id))
        window = rows.values_list(self.model_admin.instant, "pk")[ROWS_LOOKED_THROUGH - 1 : ROWS_LOOKED_THROUGH]
        return next(iter(window), None)

    @property
    def _order(self) -> list[str]:
        return [f"-{self.model_admin.instant}", "-pk"]


def cursor_of(request: HttpRequest) -> Cursor | None:
    return Cursor.decode(request.GET.get(CURSOR, ""))


class HistoryAdmin(ReadOnlyAdmin):
    """A read-only list in the order of an indexed instant, newest first."""

    instant: ClassVar[str]
    sortable_by = ()
    change_list_template = "staff/history.html"

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return HistoryList

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return super().changelist_view(
            request, {"title": capfirst(str(self.opts.verbose_name_plural)), **(extra_context or {})}
        )

    def filters_have_index(self, request: HttpRequest) -> bool:
        """Whether what the reader filters by is found by an index."""
        return False

    def beside(self, side: str, instant: datetime, key: UUID) -> Q:
        """Rows on one side ("lt", "gte") of a place in the list; the outer condition is the one an index takes."""
        strict = side.removesuffix("e")
        return Q(**{f"{self.instant}__{strict}e": instant}) & (
            Q(**{f"{self.instant}__{strict}": instant}) | Q(**{self.instant: instant, f"pk__{side}": key})
        )
