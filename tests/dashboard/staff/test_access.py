"""Who gets into the staff site, and what is recorded of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.contrib import admin
from django.db import connection
from django.urls import NoReverseMatch, reverse
from django.utils import timezone

from compliance.jobs.actions import request_owner_test
from compliance.models import (
    AgentContext,
    ComplianceRun,
    Invitation,
    Job,
    Membership,
    Organization,
    Suite,
    SuiteVersion,
    SystemScopeUse,
    User,
)
from compliance.monitors import liveness
from compliance.monitors.actions import run_monitor_now
from compliance.runners.actions import create_runner
from compliance.suites.health import record_engine_health
from compliance.tenancy.actions import invite
from compliance.tenancy.scope import Actor, system_scope
from compliance.webhooks.actions import take_delivery
from tests.compliance.monitors.conftest import make_monitor, skip_heartbeat
from tests.conftest import AGENT_URL, make_run
from tests.dashboard.staff.conftest import REASON


@pytest.fixture
def world(organization: Organization, other_organization: Organization, context: AgentContext, alice: User) -> None:
    make_run("passed", organization=organization)
    make_run("failed")
    record_engine_health("hosted@one")
    invite(organization=organization, email="dana@example.org", role="member", by=alice)
    request_owner_test(organization=organization, context_id=context.pk, by=alice)
    monitor = make_monitor(organization, context, alice)
    run_monitor_now(organization=organization, monitor_id=monitor.pk, by=alice)
    liveness.begin("monitors")
    skip_heartbeat(AGENT_URL)
    create_runner(organization=organization, name="lab", by=alice)  # with its API key
    take_delivery(source="registry", delivery_id="msg_1", kind="agent.deployed", agent_url=AGENT_URL)


def a_key_of(model: Any) -> Any:
    return model._default_manager.order_by("pk").values_list("pk", flat=True).first()


def staff_addresses() -> list[str]:
    """Every address of the staff site: its own pages, and each model's list, add, change, delete and history."""
    names = ["index", "reason", "reason_end", "logout", "password_change", "password_change_done", "autocomplete"]
    addresses = [reverse(f"admin:{name}") for name in names]
    addresses += [reverse("admin:app_list", args=["compliance"]), reverse("admin:jsi18n"), "/staff/no/such/page/"]
    for model in admin.site._registry:
        stem = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        addresses += [reverse(f"{stem}_changelist"), reverse(f"{stem}_add")]
        key = a_key_of(model)
        assert key is not None, f"the walk needs a row of {model.__name__}"
        for page in ("change", "delete", "history"):
            addresses.append(reverse(f"{stem}_{page}", args=[admin.utils.quote(key)]))
    return addresses


@pytest.fixture
def addresses(world: None) -> Iterator[list[str]]:
    with system_scope(by=Actor.system("tests"), reason="arrange"):
        found = staff_addresses()
    assert len(found) > 50
    return found


SECRETS = (b"Alpha", b"Omega", b"agent.example", b"dana@example.org", b"alice@example.org")
READS_NOTHING = ("/staff/reason/", "/staff/logout/", "/staff/password_change", "/staff/jsi18n/")


def access_records() -> list[tuple[str, str, str]]:
    with system_scope(by=Actor.system("tests"), reason="read the records"):
        rows = SystemScopeUse.objects.filter(actor_kind="user").order_by("at", "id")
        return list(rows.values_list("actor_name", "reason", "what"))


def test_nobody_but_staff_gets_in(  # I5
    client: Any, log_in: Callable[[User], Any], alice: User, addresses: list[str]
) -> None:
    for address in addresses:
        response = client.get(address)
        assert response.status_code == 302, address
        assert response.url.startswith("/staff/login/?next=") or response.url == "/staff/", (address, response.url)
        while not response.url.startswith("/accounts/login/"):
            response = client.get(response.url)
            assert response.status_code == 302, address
    log_in(alice)
    for address in addresses:
        response = client.get(address, follow=True)
        assert response.status_code == 403, address
        assert not any(secret in response.content for secret in SECRETS[:4]), address
        assert client.post(address, {"post": "yes"}, follow=True).status_code == 403, address
    assert access_records() == []


def test_staff_without_a_reason_see_nothing(staff_without_reason: Any, addresses: list[str]) -> None:  # I7
    for address in addresses:
        response = staff_without_reason.get(address)
        assert not any(secret in response.content for secret in SECRETS), address
        if not address.startswith(READS_NOTHING):
            assert response.status_code == 302, address
            assert response.url.startswith("/staff/reason/?next="), (address, response.url)
    with system_scope(by=Actor.system("tests"), reason="count"):
        before = Organization.objects.count()
    for address in addresses:
        response = staff_without_reason.post(address, {"post": "yes", "reason": ""})
        assert not any(secret in response.content for secret in SECRETS), address
    with system_scope(by=Actor.system("tests"), reason="count"):
        assert Organization.objects.count() == before
    assert access_records() == []


def test_staff_with_a_reason_open_every_page_and_each_access_is_recorded(  # I7
    staff: Any, addresses: list[str]
) -> None:
    for address in addresses:
        if address in ("/staff/logout/", "/staff/reason/end/"):
            continue
        before = len(access_records())
        response = staff.get(address)
        assert response.status_code in (200, 302, 403, 404), (address, response.status_code)
        now = access_records()
        if address.startswith(READS_NOTHING):
            assert len(now) == before, address
        elif response.status_code in (200, 302):
            assert now[before:] == [("Sam Staff", REASON, address)], address
        else:
            assert len(now) == before, f"{address}: a refused access shows nothing and leaves nothing"


def test_the_reason_leads_on_to_the_page_that_was_wanted_and_to_no_other_site(staff_without_reason: Any) -> None:
    wanted = "/staff/compliance/organization/?q=alpha"
    asked = staff_without_reason.get(wanted, follow=True)
    assert b"Why do you need access?" in asked.content
    form = asked.context["form"]
    assert form.initial["next"] == wanted
    others = ("https://evil.example/", "//evil.example", "/accounts/logout/", "/o/alpha/")
    for given, lands in [(wanted, wanted), *((other, "/staff/") for other in others)]:
        response = staff_without_reason.post("/staff/reason/", {"reason": REASON, "next": given})
        assert (response.status_code, response.url) == (302, lands)


def test_what_was_posted_without_a_reason_is_not_taken_up_again(staff_without_reason: Any) -> None:  # I7
    response = staff_without_reason.post("/staff/compliance/organization/", {"action": "x"})
    assert (response.status_code, response.url) == (302, "/staff/reason/")


def test_an_access_that_may_have_changed_something_is_recorded_as_such(staff: Any, alice: User) -> None:  # I7
    address = reverse("admin:compliance_user_change", args=[alice.pk])
    staff.get(address)
    staff.post(address, {"name": "Alice", "is_active": "on"})
    assert [what for _, _, what in access_records()] == [address, f"POST {address}"]


def test_a_reason_has_some_substance(staff_without_reason: Any) -> None:
    response = staff_without_reason.post("/staff/reason/", {"reason": "   x  "})
    assert response.status_code == 200
    assert response.context["form"].errors
    assert staff_without_reason.get("/staff/").status_code == 302


def test_the_banner_says_who_and_why_and_the_access_can_be_ended(staff: Any) -> None:
    page = staff.get("/staff/").content.decode()
    assert "Sam Staff" in page
    assert REASON in page
    assert staff.get("/staff/reason/end/").status_code == 405
    staff.post("/staff/reason/end/")
    assert staff.get("/staff/").url == "/staff/reason/?next=%2Fstaff%2F"


def test_a_reason_counts_for_its_time_only(staff: Any, settings: Any) -> None:
    session = staff.session
    session["staff_access"] = {**session["staff_access"], "until": (timezone.now() - timedelta(seconds=1)).isoformat()}
    session.save()
    assert staff.get("/staff/compliance/organization/").status_code == 302


def test_a_reason_does_not_pass_to_somebody_else(staff: Any, staff_user: User) -> None:
    session = staff.session
    session["staff_access"] = {**session["staff_access"], "by": staff_user.pk + 1}
    session.save()
    assert staff.get("/staff/compliance/organization/").status_code == 302


def test_an_access_that_fails_leaves_no_record_and_no_scope(staff: Any, monkeypatch: Any) -> None:  # I4
    from dashboard.staff.tenancy import OrganizationAdmin

    def fail(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("while it reads")

    monkeypatch.setattr(OrganizationAdmin, "get_queryset", fail)
    with pytest.raises(RuntimeError):
        staff.get("/staff/compliance/organization/")
    assert access_records() == []
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_user")
        assert cursor.fetchone() == ("assay_app",)


def test_staff_with_no_second_factor_set_one_up_first(staff: Any, settings: Any, staff_user: User) -> None:
    settings.STAFF_REQUIRES_MFA = True
    response = staff.get("/staff/compliance/organization/")
    assert (response.status_code, response.url) == (302, reverse("mfa_activate_totp"))
    assert staff.get("/staff/reason/").url == reverse("mfa_activate_totp")
    TOTP.activate(staff_user, generate_totp_secret())
    assert staff.get("/staff/compliance/organization/").status_code == 200


def test_ordinary_staff_view_and_change_nothing(client: Any, staff_user: User, world: None) -> None:
    staff_user.is_superuser = False
    staff_user.save()
    client.force_login(staff_user)
    client.post("/staff/reason/", {"reason": REASON})
    with system_scope(by=Actor.system("tests"), reason="find rows"):
        keys = {model: a_key_of(model) for model in (Organization, Membership, User, Invitation)}
    for model, key in keys.items():
        stem = f"admin:compliance_{model._meta.model_name}"
        assert client.get(reverse(f"{stem}_changelist")).status_code == 200
        assert client.get(reverse(f"{stem}_change", args=[key])).status_code == 200
        assert client.post(reverse(f"{stem}_change", args=[key]), {"name": "taken"}).status_code == 403
        assert client.post(reverse(f"{stem}_delete", args=[key]), {"post": "yes"}).status_code == 403


def test_the_record_cannot_be_written_from_here(staff: Any, world: None) -> None:  # R1
    with system_scope(by=Actor.system("tests"), reason="find rows"):
        models = [ComplianceRun, Job, SuiteVersion, Suite, SystemScopeUse]
        keys = {model: a_key_of(model) for model in models}
    for model, key in keys.items():
        stem = f"admin:compliance_{model._meta.model_name}"
        for page, arguments in (("add", []), ("delete", [key])):
            address = reverse(f"{stem}_{page}", args=arguments)
            assert staff.get(address).status_code == 403
            assert staff.post(address, {"post": "yes"}).status_code == 403
        assert staff.post(reverse(f"{stem}_change", args=[key]), {"headline": "better"}).status_code == 403
        bulk = {"action": "delete_selected", "_selected_action": [str(key)], "post": "yes"}
        staff.post(reverse(f"{stem}_changelist"), bulk)
        with system_scope(by=Actor.system("tests"), reason="find rows"):
            assert model._default_manager.filter(pk=key).exists()


def test_what_other_apps_would_register_is_not_there() -> None:
    assert {model._meta.app_label for model in admin.site._registry} == {"compliance"}
    with pytest.raises(NoReverseMatch):
        reverse("admin:mfa_authenticator_changelist")


def test_the_app_role_cannot_read_the_record_of_access(db: None, superuser: psycopg.Connection[Any]) -> None:
    from django.db import ProgrammingError, transaction

    with pytest.raises(ProgrammingError), transaction.atomic():
        SystemScopeUse.objects.exists()
