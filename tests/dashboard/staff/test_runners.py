"""Private runners and API keys as staff reads them."""

from __future__ import annotations

from typing import Any

import pytest

from compliance.models import ApiKey, Organization, Runner, User
from compliance.runners.actions import create_runner
from compliance.tenancy.api_keys import hash_of
from compliance.tenancy.scope import Actor, system_scope

RUNNERS, KEYS = "/staff/compliance/runner/", "/staff/compliance/apikey/"


@pytest.fixture
def made(
    organization: Organization, other_organization: Organization, alice: User, charlie: User
) -> tuple[Runner, str]:
    create_runner(organization=other_organization, name="elsewhere", by=charlie)
    return create_runner(organization=organization, name="lab", pool="berlin", by=alice)


def test_nothing_that_opens_anything_is_shown(staff: Any, made: tuple[Runner, str]) -> None:  # L6
    _, token = made
    prefix, secret = token[4:12], token[13:]
    with system_scope(by=Actor.system("tests"), reason="find the key"):
        key = ApiKey.objects.values_list("pk", flat=True).get(prefix=prefix)
    for address in (KEYS, f"{KEYS}?q={prefix}", f"{KEYS}{key}/change/"):
        page = staff.get(address).content.decode()
        assert prefix in page
        assert "Work as a private runner" in page
        assert secret not in page
        assert hash_of(token) not in page


def test_they_are_found_by_their_organization(staff: Any, made: tuple[Runner, str], organization: Organization) -> None:
    runner, token = made
    for address, own in ((RUNNERS, "lab"), (KEYS, token[4:12])):
        page = staff.get(f"{address}?q={organization.id}").content.decode()
        assert own in page
        assert "elsewhere" not in page
    assert "berlin" in staff.get(f"{RUNNERS}?q={runner.pk}").content.decode()
    assert "lab" not in staff.get(f"{RUNNERS}?q=nonsense").content.decode().split("</nav>")[-1]


def test_nothing_can_be_changed(staff: Any, made: tuple[Runner, str]) -> None:
    runner, _ = made
    for page in ("add/", f"{runner.pk}/delete/"):
        assert staff.get(f"{RUNNERS}{page}").status_code == 403
    staff.post(f"{RUNNERS}{runner.pk}/change/", {"name": "other"})
    with system_scope(by=Actor.system("tests"), reason="look"):
        assert Runner.objects.get(pk=runner.pk).name == "lab"
