"""What every table does with the address of its page."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from django.test import RequestFactory
from django_tables2 import Column

from dashboard.common.tables import Table

ROWS = [SimpleNamespace(number=number) for number in range(7)]


class NumberTable(Table):
    number = Column()

    class Meta(Table.Meta):
        per_page = 3


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ("", [0, 1, 2]),
        ("?page=2", [3, 4, 5]),
        ("?page=3", [6]),
        ("?page=99", [6]),
        ("?page=0", [6]),
        ("?page=nonsense", [0, 1, 2]),
        ("?per_page=1000", [0, 1, 2]),
        ("?sort=-number", [0, 1, 2]),  # no heading that sorts
    ],
)
def test_the_address_chooses_the_page_and_nothing_more(rf: RequestFactory, query: str, numbers: list[int]) -> None:
    table = NumberTable(ROWS).on_page(rf.get(f"/{query}"))
    assert [record.number for record in table.shown] == numbers


def test_a_length_that_is_known_is_not_counted(rf: RequestFactory) -> None:
    table = NumberTable(ROWS).on_page(rf.get("/?page=2"), count=5)
    assert table.paginator.num_pages == 2
