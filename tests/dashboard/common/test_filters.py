"""Filters of lists."""

from __future__ import annotations

from django.http import QueryDict

from compliance.models import Agent
from dashboard.common.filters import FilterSet, IdFilter


class ByAgent(FilterSet):
    agent = IdFilter(choices=[("01a2-bc", "Library"), ("01a2-bd", "Payroll")])


def test_an_id_in_capitals_is_the_same_choice_and_is_shown_as_chosen() -> None:
    narrowed = ByAgent(QueryDict("agent=01A2-BC"), queryset=Agent.objects.none())
    assert narrowed.chosen == {"agent": "01a2-bc"}
    assert '<option value="01a2-bc" selected>Library</option>' in str(narrowed.form["agent"])


def test_an_id_that_is_no_choice_is_named() -> None:
    narrowed = ByAgent(QueryDict("agent=01A2-BE"), queryset=Agent.objects.none())
    assert not narrowed.chosen.get("agent")
    assert "01A2-BE" in str(narrowed.form.errors["agent"]) or "01a2-be" in str(narrowed.form.errors["agent"])
