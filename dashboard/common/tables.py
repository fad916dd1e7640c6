"""Tables: what every list of the dashboard is made of, on top of django-tables2.

How a new list is added, say one of gadgets:

1. `dashboard/gadgets/tables.py` declares it: a subclass of `Table` with its columns, its caption, and a
   `class Meta(Table.Meta)` with the template of its rows and, if it has pages, `per_page`. A heading sorts if its
   column is an `OrderedColumn`; the rows come in the order of the queryset otherwise.

       class GadgetTable(Table):
           name = OrderedColumn("Gadget", Lower("name"))
           made_at = Column("Made")
           caption = "Gadgets by name"

           class Meta(Table.Meta):
               template_name = "gadgets/_table.html"

2. `templates/gadgets/_table.html` extends `common/table.html` and writes one row from `record` in its block `row`.
   Each cell but the first has `data-label`, its heading: on narrow screens rows become blocks.
3. The view makes the table. A short list is `GadgetTable(gadgets)`. One with numbered pages is
   `GadgetTable(gadgets).on_page(request)`, and its template includes `common/_pages.html` below the table. A long one
   is read with a keyset, whose order is fixed: `GadgetTable(page.rows)`, and `common/_keyset_pages.html` below it.
4. The page shows it with `{% load render_table from django_tables2 %}` and `{% render_table table %}`.

What narrows a list is a `FilterSet` in the feature's `filters.py`, shown by `common/_filters.html`.
"""

from __future__ import annotations

from typing import Any, Self

import django_tables2
from django.core.paginator import EmptyPage, PageNotAnInteger, Paginator
from django.db.models import F, QuerySet
from django.db.models.expressions import Expression
from django.http import HttpRequest
from django_tables2.config import RequestConfig

Key = str | F | Expression  # a field by its name, or what an order can be computed from


class Table(django_tables2.Table):
    """A list. Its rows are written by its template: rendering cell by cell takes four times as long."""

    caption = ""  # what the list is, for screen readers
    part = ""  # id of the part of the page that htmx replaces when a heading or another page is chosen

    class Meta:
        template_name = "common/table.html"
        attrs = {"class": "table stack"}
        orderable = False
        per_page = 50

    def on_page(self, request: HttpRequest, *, count: int | None = None) -> Self:
        """Order the rows and show the page that the address asks for.

        count: how many rows there are, where that is known; it takes a query otherwise.
        """
        RequestConfig(request, paginate=False).configure(self)
        self.paginate(Pages, page=request.GET.get(self.page_field, 1), count=count)
        return self

    @property
    def shown(self) -> list[Any]:
        """The records of the page, which a view may give what the rows need beside them."""
        return [row.record for row in self.paginated_rows]


class OrderedColumn(django_tables2.Column):
    """A column whose heading sorts by these keys. Rows without a value come last, and ties are broken uniquely.

    ties: what decides between rows that are equal in the keys; its last key is unique.
    """

    def __init__(self, heading: str, *keys: Key, ties: tuple[Key, ...] = ("id",)) -> None:
        super().__init__(heading, orderable=True)
        self.keys = [F(key) if isinstance(key, str) else key for key in keys]
        self.ties = ties

    def order(self, queryset: QuerySet[Any], is_descending: bool) -> tuple[QuerySet[Any], bool]:
        keys = [key.desc(nulls_last=True) if is_descending else key.asc(nulls_last=True) for key in self.keys]
        return queryset.order_by(*keys, *self.ties), True


class Pages(Paginator):
    """Pages of a list. An address with a number that no page has shows the first page or the last one."""

    def __init__(self, rows: Any, per_page: int, *, count: int | None = None) -> None:
        super().__init__(rows, per_page)
        if count is not None:
            self.count = count

    def validate_number(self, number: Any) -> int:
        try:
            return super().validate_number(number)
        except PageNotAnInteger:
            return 1
        except EmptyPage:
            return self.num_pages
