"""What the lists of the staff site can be filtered by: what they declare, and no hidden field."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin import SimpleListFilter
from django.db.models import Model
from django.test import RequestFactory
from django.urls import reverse

from compliance.models import User

LOOKUPS = ("", "__exact", "__startswith", "__contains", "__regex", "__in", "__gt", "__isnull")
LEVELS = 3  # of relations


def fields_of(model: type[Model], levels: int = LEVELS, before: str = "") -> Iterator[str]:
    """The path of every field of a model and of what it refers to, or what refers to it."""
    for field in model._meta.get_fields(include_hidden=True):
        yield f"{before}{field.name}"
        if levels > 1 and isinstance(field.related_model, type):
            yield from fields_of(field.related_model, levels - 1, f"{before}{field.name}__")


def declared_by(one: admin.ModelAdmin[Any]) -> set[str]:
    """The parameters that the links of a list's filters have."""
    parameters: set[str] = set()
    for declared in one.list_filter:
        if isinstance(declared, str):
            parameters |= {f"{declared}__exact", f"{declared}__isnull"}
        else:
            assert issubclass(declared, SimpleListFilter)
            parameters.add(declared.parameter_name)
    return parameters


@pytest.mark.parametrize("model", admin.site._registry, ids=lambda model: model.__name__)
def test_a_list_can_be_filtered_by_what_it_declares_and_by_no_other_field(model: type[Model]) -> None:
    one = admin.site._registry[model]
    request = RequestFactory().get("/")
    names = {"pk", *fields_of(model)}
    allowed = {
        f"{name}{lookup}" for name in names for lookup in LOOKUPS if one.lookup_allowed(f"{name}{lookup}", "x", request)
    }
    own = {parameter for parameter in declared_by(one) if "__" in parameter}
    assert allowed == own
    assert len(names) > 5


@pytest.mark.parametrize(
    ("model", "parameter"),
    [
        ("user", "password__startswith=md5"),
        ("user", "password=x"),
        ("membership", "user__password__startswith=md5"),
        ("organization", "memberships__user__password__regex=^m"),
        ("job", "lease_token__gt=1"),
        ("job", "lease_token__isnull=1"),
        ("apikey", "secret_hash__startswith=0"),
        ("runner", "organization__api_keys__secret_hash__contains=0"),
        ("suite", "slug__startswith=b"),
    ],
)
def test_an_address_with_another_lookup_is_refused(staff: Any, model: str, parameter: str) -> None:
    response = staff.get(reverse(f"admin:compliance_{model}_changelist") + f"?{parameter}")
    assert response.status_code == 400


def test_the_declared_filters_and_searches_work(staff: Any, alice: User) -> None:
    for model, one in admin.site._registry.items():
        address = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
        for declared in one.list_filter:
            parameter = f"{declared}__exact" if isinstance(declared, str) else declared.parameter_name
            assert staff.get(f"{address}?{parameter}=0").status_code == 200, parameter
        assert staff.get(f"{address}?q=alice").status_code == 200
    users = reverse("admin:compliance_user_changelist")
    shown = staff.get(f"{users}?is_staff__exact=0").context["cl"]
    assert [user.email for user in shown.result_list] == [alice.email]
    assert staff.get(f"{users}?is_staff__exact=1").context["cl"].result_count == 1
    assert [user.email for user in staff.get(f"{users}?q=alice").context["cl"].result_list] == [alice.email]
