"""Notices: the bell of every page, and their own."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any
from urllib.parse import urljoin
from uuid import uuid4

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from compliance.alerts.notices import NoticeCursor, notice_page
from compliance.models import Notice, Organization, Role, User
from compliance.tenancy.events import Event, Subject, publish
from compliance.tenancy.scope import organization_scope
from tests.conftest import add_member
from tests.dashboard.pages import markup


def at(name: str, organization: Organization, *args: Any) -> str:
    return reverse(name, args=[organization.slug, *args])


def told(organization: Organization, text: str = "Something happened.", **more: Any) -> None:
    about = {"subject": Subject.RUNNER, "subject_id": uuid4(), "occasion": f"test:{uuid4()}"}
    with organization_scope(organization.id):
        publish(Event(organization_id=organization.id, text=text, **{**about, **more}))


def make_many(organization: Organization, unread: int, read: int, called: str = "many") -> None:
    now = timezone.now()
    with organization_scope(organization.id):
        Notice.objects.bulk_create(
            Notice(
                organization_id=organization.id,
                at=now - timedelta(minutes=number // 2),  # two at each instant
                subject=Subject.MONITOR,
                subject_id=uuid4(),
                text=f"Notice {number}.",
                occasion=f"{called}:{number}",
                read_at=None if number < unread else now,
            )
            for number in range(unread + read)
        )


def bell(client: Client, address: str) -> str:
    found = re.search(r'<a class="nav-link bell.*?</a>', markup(client.get(address)), re.DOTALL)
    assert found
    return found[0]


@pytest.fixture
def alices(reader: Any, alice: User) -> Client:
    return reader(alice)


class TestBell:
    def test_it_counts_what_nobody_has_read(
        self, alices: Client, organization: Organization, reader: Any, bob: User
    ) -> None:
        overview = at("overview", organization)
        assert "unread" not in bell(alices, overview)
        told(organization)
        told(organization)
        assert ">2<" in bell(alices, overview)
        assert ">2<" in bell(reader(bob), at("monitors", organization))
        with organization_scope(organization.id):
            Notice.objects.of_organization(organization.id).mark_read()
        assert "unread" not in bell(alices, overview)

    def test_it_says_more_where_there_are_very_many(self, alices: Client, organization: Organization) -> None:
        make_many(organization, 99, 0)
        assert ">99<" in bell(alices, at("overview", organization))
        told(organization)
        assert ">99+<" in bell(alices, at("overview", organization))

    def test_it_is_on_the_pages_that_belong_to_no_organization_too(
        self, alices: Client, organization: Organization
    ) -> None:
        told(organization)
        assert ">1<" in bell(alices, reverse("suites"))
        assert at("notices", organization) in bell(alices, reverse("suites"))

    def test_it_counts_one_organizations_own(
        self, alices: Client, organization: Organization, other_organization: Organization, alice: User
    ) -> None:  # I5, I6
        told(other_organization)
        add_member(other_organization, alice, Role.MEMBER)
        assert "unread" not in bell(alices, at("overview", organization))
        assert ">1<" in bell(alices, at("overview", other_organization))

    def test_the_count_stops_where_more_are_shown_as_more(self, organization: Organization, queries: Any) -> None:
        make_many(organization, 105, 1)
        with organization_scope(organization.id), queries() as asked:
            assert Notice.objects.unread_count(organization.id) == 100
        assert len(asked) == 1


class TestPage:
    def test_an_empty_one_says_what_comes_here(self, alices: Client, organization: Organization) -> None:
        page = markup(alices.get(at("notices", organization)))
        assert "No notices yet." in page
        assert "Mark all as read" not in page

    def test_each_leads_to_what_it_is_about(self, alices: Client, organization: Organization) -> None:
        runner, monitor = uuid4(), uuid4()
        told(organization, "<b>lab</b> is offline.", subject_id=runner, priority="high")
        told(organization, "Nightly is paused.", subject=Subject.MONITOR, subject_id=monitor)
        page = markup(alices.get(at("notices", organization)))
        assert "&lt;b&gt;lab&lt;/b&gt; is offline." in page
        assert at("runner", organization, runner) in page
        assert at("monitor", organization, monitor) in page
        assert page.count("v-new") == 2
        assert page.count("Important") == 1

    def test_one_is_marked_as_read_and_then_all(self, alices: Client, organization: Organization) -> None:
        told(organization, "First.")
        told(organization, "Second.")
        address = at("notices", organization)
        [first, second] = re.findall(r'action="([^"]+/notices/[^"]+/read/)"', markup(alices.get(address)))
        page = markup(alices.post(first, follow=True))
        assert page.count("v-new") == 1
        assert page.index("First.") < page.index("Second.")  # what is unread comes first
        page = markup(alices.post(at("notices_read", organization), follow=True))
        assert "1 notice marked as read." in page
        assert "v-new" not in page
        assert alices.post(second).status_code == 302

    def test_opening_an_address_marks_nothing(self, alices: Client, organization: Organization) -> None:
        told(organization)
        alices.get(at("notices_read", organization))
        alices.get(at("notices", organization))
        assert "v-new" in markup(alices.get(at("notices", organization)))

    def test_pages_hold_every_notice_once_the_unread_ones_first(
        self, alices: Client, organization: Organization
    ) -> None:  # R5
        make_many(organization, 60, 70)
        address, seen = at("notices", organization), []
        while address:
            page = markup(alices.get(address))
            seen += re.findall(r"Notice (\d+)\.</a>", page)
            older = re.search(r'id="older" rel="next" href="([^"]+)"', page)
            address = urljoin(address, older[1].replace("&amp;", "&")) if older else ""
        assert len(seen) == len(set(seen)) == 130
        assert {int(number) for number in seen[:60]} == set(range(60))
        assert alices.get(at("notices", organization), {"at": "damaged"}).status_code == 200

    @pytest.mark.parametrize(("unread", "read"), [(50, 10), (10, 50), (50, 0), (0, 50)])
    def test_a_page_that_ends_where_a_part_ends_goes_on_in_the_next(
        self, organization: Organization, unread: int, read: int
    ) -> None:
        make_many(organization, unread, read)
        with organization_scope(organization.id):
            first, following = notice_page(organization_id=organization.id, size=50)
            rest, end = (
                notice_page(organization_id=organization.id, cursor=following, size=50) if following else ([], None)
            )
        assert len(first) == min(50, unread + read)
        assert len({notice.pk for notice in first + rest}) == unread + read
        assert end is None
        assert following is None or NoticeCursor.decode(following.encode()) == following

    def test_a_page_costs_the_same_with_many(self, alices: Client, organization: Organization, queries: Any) -> None:
        make_many(organization, 1, 1)
        address = at("notices", organization)
        alices.get(address)
        with queries() as few:
            alices.get(address)
        make_many(organization, 20, 60, called="more")
        with queries() as many:
            alices.get(address)
        assert len(many) == len(few) <= 9

    def test_nobody_elses_are_shown_or_marked(
        self, organization: Organization, other_organization: Organization, charlie: User, reader: Any
    ) -> None:  # I5, I6
        told(organization, "Private matter.")
        with organization_scope(organization.id):
            notice = Notice.objects.get()
        theirs = reader(charlie)
        assert theirs.get(at("notices", organization)).status_code == 404
        assert "Private matter." not in markup(theirs.get(at("notices", other_organization)))
        assert theirs.post(at("notice_read", other_organization, notice.pk)).status_code == 404
        theirs.post(at("notices_read", other_organization))
        with organization_scope(organization.id):
            assert Notice.objects.get().read_at is None
