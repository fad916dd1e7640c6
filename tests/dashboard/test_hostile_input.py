"""Whatever is typed into a field or an address of any page: Assay answers, and never breaks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.contrib.contenttypes.models import ContentType
from django.db import transaction
from django.test import Client

from compliance.jobs.actions import cancel_job, request_owner_test
from compliance.models import AgentContext, Organization, User
from compliance.tenancy.actions import invite
from compliance.tenancy.scope import Actor, system_scope
from tests.dashboard.accounts.addresses import account_addresses
from tests.dashboard.common import test_access as pages
from tests.dashboard.forms_in import FoundForm, escaped, forms_in
from tests.dashboard.staff import conftest as of_staff
from tests.dashboard.staff import test_access as staff_pages
from tests.dashboard.staff.test_lookups import declared_by

# The fixtures of the walks over all pages.
addresses, own_run, grant = pages.addresses, pages.own_run, pages.grant
monitor, lab, notice = pages.monitor, pages.lab, pages.notice
world = staff_pages.world
staff, staff_without_reason = of_staff.staff, of_staff.staff_without_reason
without_second_factor = of_staff.without_second_factor

NUL = "a\x00b"
HOSTILE = {
    "NUL": NUL,
    "half of a surrogate pair": "a\ud800b",
    "huge number": "9" * 30,
    "many days": "99999999999",
    "negative": "-1",
    "NaN": "NaN",
    "infinity": "1e999",
    "long": "x" * 100_000,
    "right to left": "\u202eevil\u2066",
    "emoji": "\U0001f9ea\u200d\U0001f469",
    "broken address": "http://[",
    "path": "../../%00?#",
}
# In each field alone, so that the others do not stop it.
ALONE = ("NUL", "many days")
IN_ADDRESSES = ("NUL", "huge number", "broken address")
PARAMETERS = (
    "page",
    "before",
    "after",
    "cursor",
    "sort",
    "order",
    "q",
    "o",
    "p",
    "e",
    "next",
    "state",
    "email",
    "_to_field",
)
HEADERS = {
    "HTTP_HX_CURRENT_URL": "http://[",
    "HTTP_REFERER": "http://[",
    "HTTP_ACCEPT_LANGUAGE": "\x00",
    "HTTP_USER_AGENT": "x" * 100_000,
}


class Reader:
    """A browser that keeps what broke, and takes back what it did."""

    def __init__(self, user: User | None = None) -> None:
        self.client = Client(raise_request_exception=False)
        if user is not None:
            self.client.force_login(user)
        self.broken: list[str] = []
        self.asked = 0

    def ask(self, method: str, address: str, body: str = "", what: str = "", **headers: Any) -> Any:
        self.asked += 1
        kept = dict(self.client.cookies)
        with transaction.atomic():
            response = self.client.generic(method, address, body, "application/x-www-form-urlencoded", **headers)
            transaction.set_rollback(True)
        self.client.cookies.update(kept)
        if response.status_code >= 500:
            self.broken.append(f"{method} {address[:120]} {what}")
        return response

    def fill_in(self, form: FoundForm) -> None:
        """Send a form with something hostile in each field alone, and with all of it in all of them in turn."""
        names = [name for name in form.values if name != "csrfmiddlewaretoken"]
        values = list(HOSTILE.values())
        all_of_them = [
            {name: values[(turn + place) % len(values)] for place, name in enumerate(names)}
            for turn in range(0, len(values), 4)
        ]
        alone = [{name: HOSTILE[what]} for what in ALONE for name in names]
        for changed in alone + all_of_them:
            if form.method == "GET":
                changed = {name: value[:500] for name, value in changed.items()}
                self.ask("GET", f"{form.action}?{form.body(**changed)}")
            else:
                self.ask("POST", form.action, form.body(**changed), str(changed)[:80])

    def walk(self, addresses: list[str], values: Sequence[str] = ("NUL", "huge number", "broken address")) -> None:
        """Each page with hostile parameters and headers, and each of its forms, once for each set of fields."""
        filled: set[tuple[str, ...]] = set()
        for address in addresses:
            page = self.ask("GET", address)
            for what in values:
                query = "&".join(f"{name}={escaped(HOSTILE[what])}" for name in PARAMETERS)
                self.ask("GET", f"{address}?{query}", what=what)
            self.ask("GET", address, what="headers", HTTP_HX_REQUEST="true", **HEADERS)
            self.ask("POST", address, "", what="nothing")
            if not page.get("Content-Type", "").startswith("text/html"):
                continue
            for form in forms_in(page.content.decode(), address):
                kind = (form.method, form.action.split("?")[0] if form.method == "GET" else "", *sorted(form.values))
                if kind not in filled:
                    filled.add(kind)
                    self.fill_in(form)


def test_no_field_of_an_organizations_pages_breaks_them(
    addresses: Any, organization: Organization, alice: User
) -> None:
    invite(organization=organization, email="dana@example.org", role="member", by=alice)
    people = [f"/o/{organization.slug}/{page}/" for page in ("members", "settings", "settings/delete")]
    reader = Reader(alice)
    reader.walk([*addresses(organization.slug).values(), *people, "/", "/o/new/", "/suites/", "/docs/"])
    assert reader.broken == []
    assert reader.asked > 500


def test_a_page_that_the_browser_says_it_shows_may_be_no_address(
    organization: Organization, context: AgentContext, alice: User
) -> None:
    job, _ = request_owner_test(organization=organization, context_id=context.pk, by=alice)
    cancel_job(organization=organization, job_id=job.pk, by=alice)
    address = f"/o/{organization.slug}/jobs/{job.pk}/"
    for reader in (Reader(), Reader(alice)):
        response = reader.ask("GET", address, HTTP_HX_REQUEST="true", **HEADERS)
        assert response.status_code == 200
        assert reader.broken == []


def test_no_field_of_the_account_pages_breaks_them(alice: User) -> None:
    for reader in (Reader(), Reader(alice)):
        reader.walk(account_addresses())
        assert reader.broken == []


def test_no_address_with_something_hostile_in_it_breaks_anything(
    addresses: Any, organization: Organization, alice: User
) -> None:
    everywhere = ("/{}", "/o/{}/", "/invitations/{}/", "/suites/{}/", "/suites/baseline/{}/", "/docs/{}/")
    everywhere += ("/accounts/confirm-email/{}/", "/accounts/password/reset/key/{}/")
    reader = Reader(alice)
    for what in (*IN_ADDRESSES, "path"):
        bad = escaped(HOSTILE[what])
        for address in addresses(organization.slug).values():
            parts = address.strip("/").split("/")
            for place in range(2, len(parts)):
                if what == "NUL" or len(parts[place]) > 30:  # where a key is
                    reader.ask("GET", f"/{'/'.join([*parts[:place], bad, *parts[place + 1 :]])}/")
        for address in everywhere:
            reader.ask("GET", address.format(bad))
    assert reader.broken == []


def test_nothing_typed_into_the_staff_site_breaks_it(world: None, staff: Any) -> None:
    reader = Reader()
    reader.client = staff
    staff.raise_request_exception = False
    assert reader.ask("GET", "/staff/compliance/user/").status_code == 200
    with system_scope(by=Actor.system("tests"), reason="arrange"):
        found = staff_pages.staff_addresses()
    left_out = ("/staff/logout/", "/history/", "/delete/")
    reader.walk([address for address in found if not address.endswith(left_out)], values=["NUL"])
    for model, one in admin.site._registry.items():
        stem = f"/staff/{model._meta.app_label}/{model._meta.model_name}/"
        for what in IN_ADDRESSES:
            bad = escaped(HOSTILE[what])
            reader.ask("GET", f"{stem}{bad}/change/")
            for name in (*declared_by(one), "q", "before", "o", "p"):
                reader.ask("GET", f"{stem}?{name}={bad}")
            for action in one.actions or ():
                reader.ask("POST", stem, f"action={action}&_selected_action={bad}&confirmed=yes")
            of_model = ContentType.objects.get_for_model(model).pk
            reader.ask("GET", f"/staff/r/{of_model}/{bad}/")
    for value in HOSTILE.values():
        bad = escaped(value[:1000])
        for address in ("{}", "r/{}/{}/", "compliance/{}/", "reason/?next={}"):
            reader.ask("GET", f"/staff/{address.format(bad, bad)}")
    assert reader.broken == []
    assert reader.asked > 500
