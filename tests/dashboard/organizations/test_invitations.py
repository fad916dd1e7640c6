"""Invitations from the form to the membership, through the browser's side and the mail."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.core import mail
from django.core.mail.backends.base import BaseEmailBackend
from django.utils import timezone

from compliance.models import Invitation, Membership, Organization, Role, User
from compliance.tenancy.actions import (
    accept_invitation,
    create_organization,
    delete_organization,
    invite,
    revoke_invitation,
)
from compliance.tenancy.errors import Refused
from compliance.tenancy.invitations import link_token
from compliance.tenancy.scope import organization_scope
from tests.conftest import PASSWORD, confirm_address, make_user
from tests.dashboard.pages import markup

DANA = "dana@example.org"


class MailServerIsAway(BaseEmailBackend):
    def send_messages(self, email_messages: Any) -> int:
        raise ConnectionRefusedError("no mail server here")


@pytest.fixture
def post(client: Any, django_capture_on_commit_callbacks: Callable[..., Any]) -> Callable[..., Any]:
    """POST as a browser does, with what happens after the commit."""

    def send(address: str, data: dict[str, str] | None = None) -> Any:
        with django_capture_on_commit_callbacks(execute=True):
            return client.post(address, data or {})

    return send


def make_dana() -> User:
    """Who is invited, and has confirmed the address."""
    return confirm_address(make_user(DANA, "Dana"))


@contextmanager
def within(organization: Organization) -> Iterator[None]:
    with organization_scope(organization.id):
        yield


def link_in(message: Any) -> str:
    found = re.search(r"http://testserver(/invitations/\S+)", message.body)
    assert found, message.body
    return found.group(1)


def confirmation_in(message: Any) -> str:
    found = re.search(r"http://testserver(/accounts/confirm-email/\S+)", message.body)
    assert found, message.body
    return found.group(1)


def roles_in(organization: Organization) -> dict[str, str]:
    with within(organization):
        return dict(Membership.objects.values_list("user__email", "role"))


@pytest.fixture
def invitation(organization: Organization, alice: User) -> Invitation:
    return invite(organization=organization, email=DANA, role=Role.ADMIN, by=alice)


@pytest.fixture
def link(invitation: Invitation) -> str:
    return f"/invitations/{link_token(invitation)}/"


def test_from_the_form_to_the_membership_of_somebody_new(
    client: Any, post: Callable[..., Any], organization: Organization, alice: User
) -> None:
    client.force_login(alice)
    response = post(f"/o/{organization.slug}/members/invite/", {"email": " Dana@Example.org ", "role": "admin"})
    assert response.status_code == 302
    [message] = mail.outbox
    assert message.to == [DANA]
    assert "Alice Owner" in message.subject
    assert "Alpha" in message.subject
    assert "admin" in message.body
    link = link_in(message)
    page = markup(client.get(f"/o/{organization.slug}/members/"))
    named = link.partition(":")[0]  # what follows is when it was signed, and the signature
    assert f"http://testserver{named}" in page, "the inviter can copy the link"
    client.logout()

    page = client.get(link)
    assert page.status_code == 200
    text = markup(page)
    assert "Alice Owner" in text
    assert "Alpha" in text
    signup = re.search(r'href="(/accounts/signup/[^"]+)"', text).group(1).replace("&amp;", "&")  # type: ignore[union-attr]
    form = markup(client.get(signup))
    assert f'value="{DANA}"' in form
    data = {"email": DANA, "name": "Dana", "password1": PASSWORD, "password2": PASSWORD, "next": link}
    response = client.post("/accounts/signup/", data)
    assert (response.status_code, response.url) == (302, link)
    assert "Confirm first that dana@example.org is your address" in markup(client.get(link))
    client.post(link)
    assert roles_in(organization).get(DANA) is None, "nobody has shown that the address is theirs"
    confirm = confirmation_in(mail.outbox[-1])
    assert client.post(confirm).url == link
    assert "Accept" in markup(client.get(link))
    assert roles_in(organization).get(DANA) is None, "looking is not accepting"
    response = client.post(link, follow=True)
    assert response.redirect_chain[-1][0] == f"/o/{organization.slug}/"
    assert "Welcome to Alpha." in markup(response)
    assert roles_in(organization)[DANA] == "admin"


def test_signing_up_with_a_confirmed_address_comes_back_to_the_invitation(
    client: Any, settings: Any, link: str, organization: Organization
) -> None:
    settings.ACCOUNT_EMAIL_VERIFICATION = "mandatory"
    client.get(link)
    data = {"email": DANA, "name": "Dana", "password1": PASSWORD, "password2": PASSWORD, "next": link}
    response = client.post("/accounts/signup/", data)
    assert response.url == "/accounts/confirm-email/"
    confirm = confirmation_in(mail.outbox[-1])
    assert client.get(confirm).status_code == 200
    response = client.post(confirm)
    assert (response.status_code, response.url) == (302, link)
    client.post(link)
    assert roles_in(organization)[DANA] == "admin"


def test_signing_in_comes_back_to_the_invitation(client: Any, link: str, organization: Organization) -> None:
    make_dana()
    page = markup(client.get(link))
    login = re.search(r'href="(/accounts/login/[^"]+)"', page).group(1)  # type: ignore[union-attr]
    assert client.get(login).status_code == 200
    response = client.post("/accounts/login/", {"login": DANA, "password": PASSWORD})
    assert (response.status_code, response.url) == (302, link), "also when the form forgets where from"
    client.post(link)
    assert roles_in(organization)[DANA] == "admin"
    assert client.get("/accounts/login/").url == "/", "once accepted, it leads nowhere any more"


def test_a_mail_server_that_is_away_leaves_the_invitation_and_says_so(
    client: Any, committed_db: None, settings: Any
) -> None:
    alice = make_user("alice@example.org", "Alice Owner")
    organization = create_organization(name="Alpha", by=alice)
    client.force_login(alice)
    address = f"/o/{organization.slug}/members/invite/"
    response = client.post(address, {"email": "first@example.org", "role": "member"}, follow=True)
    assert "on its way to first@example.org" in markup(response)
    settings.EMAIL_BACKEND = f"{__name__}.MailServerIsAway"
    page = markup(client.post(address, {"email": DANA, "role": "member"}, follow=True))
    assert "dana@example.org is invited, but the e-mail could not be sent" in page
    assert "Copy the link below" in page
    assert "http://testserver/invitations/" in page


def test_signing_up_survives_a_mail_server_that_is_away(client: Any, db: None, settings: Any) -> None:
    settings.EMAIL_BACKEND = f"{__name__}.MailServerIsAway"
    data = {"email": DANA, "name": "Dana", "password1": PASSWORD, "password2": PASSWORD}
    response = client.post("/accounts/signup/", data, follow=True)
    assert response.status_code == 200
    assert "could not be sent" in markup(response)
    assert User.objects.filter(email=DANA).exists()


def test_no_mail_when_the_invitation_is_refused(
    client: Any, post: Callable[..., Any], organization: Organization, alice: User
) -> None:
    client.force_login(alice)
    address = f"/o/{organization.slug}/members/invite/"
    assert post(address, {"email": "bob@example.org", "role": "member"}).status_code == 302
    assert "is a member already" in markup(client.get(f"/o/{organization.slug}/members/"))
    assert post(address, {"email": "not an address", "role": "member"}).status_code == 422
    assert post(address, {"email": DANA, "role": "emperor"}).status_code == 422
    assert mail.outbox == []


def test_a_line_break_in_a_name_adds_no_header(
    client: Any, post: Callable[..., Any], organization: Organization, alice: User
) -> None:
    User.objects.filter(pk=alice.pk).update(name="Alice\nBcc: everybody@example.org")
    client.force_login(alice)
    post(f"/o/{organization.slug}/members/invite/", {"email": DANA, "role": "member"})
    assert mail.outbox[0].recipients() == [DANA]
    assert "\n" not in mail.outbox[0].subject


def test_names_in_a_mail_are_short_and_become_no_links(
    client: Any, post: Callable[..., Any], organization: Organization, alice: User
) -> None:
    User.objects.filter(pk=alice.pk).update(name="Win at https://evil.example/x?y or a@evil。example\u202e " + "x" * 30)
    with within(organization):
        Organization.objects.update(name="www.evil.example/prize " + "y" * 70)
    client.force_login(alice)
    post(f"/o/{organization.slug}/members/invite/", {"email": DANA, "role": "member"})
    [message] = mail.outbox
    assert message.subject.isprintable()
    assert len(message.subject) < 160
    for text in (message.subject, message.body.replace("http://testserver/", "").replace(DANA, "")):
        assert re.search(r"://|www\.|evil[.。]|@", text) is None, text
    assert "Win at https evil example" in message.subject
    assert "www evil example prize" in message.subject


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("INVITATIONS_PER_ORGANIZATION", "by this organization"),
        ("INVITATIONS_PER_PERSON", "by you"),
        ("INVITATIONS_PER_RECIPIENT", "to this address"),
    ],
)
def test_invitations_are_mailed_so_often_and_no_more_resends_included(
    client: Any,
    post: Callable[..., Any],
    settings: Any,
    organization: Organization,
    alice: User,
    setting: str,
    words: str,
) -> None:
    setattr(settings, setting, 3)
    client.force_login(alice)
    members = f"/o/{organization.slug}/members/"
    post(f"{members}invite/", {"email": DANA, "role": "member"})
    for _ in range(4):
        with within(organization):
            open_one = Invitation.objects.get()
        post(f"{members}invitations/{open_one.pk}/resend/")
    assert len(mail.outbox) == 3
    assert f"Too many invitations were sent {words} lately" in markup(client.get(members))
    assert client.get(link_in(mail.outbox[-1])).status_code == 302, "the link that was mailed last still opens"


def test_the_limits_of_a_person_and_of_a_recipient_hold_over_all_organizations(
    client: Any, post: Callable[..., Any], settings: Any, alice: User, bob: User
) -> None:
    settings.INVITATIONS_PER_PERSON, settings.INVITATIONS_PER_RECIPIENT = 2, 3
    for person in (alice, bob):
        client.force_login(person)
        for number in range(3):
            one = create_organization(name=f"{person.name} {number}", by=person)
            post(f"/o/{one.slug}/members/invite/", {"email": DANA.upper(), "role": "member"})
    assert len(mail.outbox) == 3
    assert [message.subject.split()[0] for message in mail.outbox] == ["Alice", "Alice", "Bob"]


def test_resending_replaces_the_link(
    client: Any, post: Callable[..., Any], organization: Organization, alice: User, invitation: Invitation, link: str
) -> None:
    with within(organization):
        Invitation.objects.update(expires_at=timezone.now() - timedelta(days=1))
    client.force_login(alice)
    post(f"/o/{organization.slug}/members/invitations/{invitation.pk}/resend/")
    fresh = link_in(mail.outbox[0])
    client.force_login(make_dana())
    assert "no longer open" in markup(client.get(link))
    assert "Accept" in markup(client.get(fresh))
    with within(organization):
        assert Invitation.objects.get().role == Role.ADMIN


def test_an_admin_does_not_renew_an_owners_invitation(
    client: Any, organization: Organization, alice: User, bob: User
) -> None:
    offered = invite(organization=organization, email=DANA, role=Role.OWNER, by=alice)
    with within(organization):
        Membership.objects.filter(user=bob).update(role=Role.ADMIN)
    client.force_login(bob)
    assert client.post(f"/o/{organization.slug}/members/invitations/{offered.pk}/resend/").status_code == 403
    with within(organization):
        assert Invitation.objects.filter(pk=offered.pk).exists()


@pytest.mark.parametrize("verification", ["none", "optional", "mandatory"])
def test_only_who_has_confirmed_the_address_accepts(
    client: Any, settings: Any, link: str, organization: Organization, verification: str
) -> None:
    settings.ACCOUNT_EMAIL_VERIFICATION = verification
    dana = make_user(DANA, "Dana")
    client.force_login(dana)
    client.post(link)
    assert "Confirm first that" in markup(client.get(link))
    assert DANA not in roles_in(organization)
    client.post("/accounts/email/", {"email": DANA, "action_send": "send"})
    assert client.post(confirmation_in(mail.outbox[-1])).url == link
    client.post(link)
    assert DANA in roles_in(organization)


def test_the_action_itself_refuses_who_has_not_confirmed_the_address(
    organization: Organization, invitation: Invitation
) -> None:
    dana = make_user(DANA, "Dana")
    accepting = {"organization_id": organization.id, "invitation_id": str(invitation.pk)}
    for confirmed in (None, "dana.elsewhere@example.org"):
        if confirmed:
            EmailAddress.objects.create(user=dana, email=confirmed, verified=True)
        with pytest.raises(Refused, match="Confirm first"):
            accept_invitation(**accepting, by=dana)
    confirm_address(dana)
    assert accept_invitation(**accepting, by=dana).role == Role.ADMIN


class TestALinkThatDoesNotOpen:
    """Each says what is wrong, lets nobody in, and shows no more than it must."""

    @pytest.fixture
    def dana(self, client: Any, db: None) -> User:
        dana = make_dana()
        client.force_login(dana)
        return dana

    def tried(self, client: Any, link: str, status: int) -> str:
        client.post(link)
        response = client.get(link)
        assert response.status_code == status
        text: str = markup(response)
        return text

    def test_withdrawn(
        self, client: Any, dana: User, link: str, invitation: Invitation, organization: Organization, alice: User
    ) -> None:
        revoke_invitation(organization=organization, invitation_id=invitation.pk, by=alice)
        text = self.tried(client, link, 410)
        assert "no longer open" in text
        assert "Alpha" not in text
        assert DANA not in roles_in(organization)

    def test_expired(self, client: Any, dana: User, link: str, organization: Organization) -> None:
        with within(organization):
            Invitation.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
        assert "has expired" in self.tried(client, link, 410)
        assert DANA not in roles_in(organization)

    def test_used(self, client: Any, dana: User, link: str, organization: Organization) -> None:
        client.post(link)
        with within(organization):
            Membership.objects.filter(user=dana).delete()
        assert "has been used" in self.tried(client, link, 410)
        assert DANA not in roles_in(organization)

    def test_of_a_deleted_organization(
        self, client: Any, dana: User, link: str, organization: Organization, alice: User
    ) -> None:
        delete_organization(organization=organization, by=alice)
        assert "no longer open" in self.tried(client, link, 410)

    def test_damaged(self, client: Any, dana: User, link: str, organization: Organization) -> None:
        for broken in (link[:-3] + "xx/", "/invitations/nonsense/", f"/invitations/{link_token_of_nothing()}/"):
            response = client.get(broken)
            assert response.status_code in (404, 410)
            assert "Alpha" not in markup(response)
        assert DANA not in roles_in(organization)

    def test_for_another_address(self, client: Any, link: str, organization: Organization, charlie: User) -> None:
        client.force_login(charlie)
        text = self.tried(client, link, 200)
        assert "You are signed in as charlie@example.com" in text
        assert "charlie@example.com" not in roles_in(organization)
        response = client.post("/accounts/logout/", {"next": link})
        assert (response.status_code, response.url) == (302, link)
        assert "Sign up" in markup(client.get(link))

    def test_for_nobody_signed_in(self, client: Any, link: str, organization: Organization) -> None:
        assert "Sign in" in self.tried(client, link, 200)
        assert len(roles_in(organization)) == 2


def link_token_of_nothing() -> str:
    """Signed by us, and naming what is not there."""
    return link_token(Invitation(organization_id="org_gone", email=DANA))


def test_a_member_who_opens_the_link_again_is_told_so(
    client: Any, link: str, organization: Organization, alice: User
) -> None:
    client.force_login(make_dana())
    client.post(link)
    response = client.get(link, follow=True)
    assert "You are a member of Alpha." in markup(response)


def test_an_invitation_opens_its_own_organization_only(
    client: Any, organization: Organization, other_organization: Organization, invitation: Invitation
) -> None:
    moved = Invitation(pk=invitation.pk, organization_id=other_organization.id)
    client.force_login(make_dana())
    response = client.post(f"/invitations/{link_token(moved)}/")
    assert response.status_code == 410
    assert DANA not in roles_in(other_organization)


def test_creating_renaming_and_deleting_an_organization(client: Any, alice: User) -> None:
    client.force_login(alice)
    assert client.post("/o/new/", {"name": "   "}).status_code == 200
    assert client.post("/o/new/", {"name": "x" * 101}).status_code == 200
    response = client.post("/o/new/", {"name": "New Things"}, follow=True)
    home = response.redirect_chain[-1][0]
    assert home.startswith("/o/new-things-")
    client.post(f"{home}settings/", {"name": "Newer Things"})
    page = markup(client.get(f"{home}settings/"))
    assert "Newer Things" in page
    wrong = client.post(f"{home}settings/delete/", {"name": "newer things"})
    assert wrong.status_code == 200
    assert "This is not the name" in markup(wrong)
    assert client.post(f"{home}settings/delete/", {"name": "Newer Things"}).url == "/"
    assert client.get(home).status_code == 404


def test_an_address_does_not_tell_whether_another_organization_has_the_name(alice: User, bob: User) -> None:  # I5
    shape = r"alpha-ltd-[a-z2-9]{5}"
    first, second = (create_organization(name=name, by=by) for name, by in [("Alpha Ltd", alice), ("Alpha, Ltd.", bob)])
    assert re.fullmatch(shape, first.slug)
    assert re.fullmatch(shape, second.slug)
    assert first.slug != second.slug
    assert re.fullmatch(r"new-[a-z2-9]{5}", create_organization(name="New", by=alice).slug)
    assert re.fullmatch(r"organization-[a-z2-9]{5}", create_organization(name="組織", by=bob).slug)
