"""What an account's pages and mails give away: nothing to caches, to the clock, or to whoever sends a Host header."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.auth.hashers import MD5PasswordHasher
from django.core import mail
from django.core.cache import caches

from compliance.models import User
from tests.conftest import PASSWORD
from tests.dashboard.accounts.addresses import account_addresses

NEW = {"name": "Dana", "password1": PASSWORD, "password2": PASSWORD}


@pytest.fixture(autouse=True)
def fresh_limits() -> None:
    caches["default"].clear()


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The passwords that were hashed."""
    passwords: list[str] = []
    encode = MD5PasswordHasher.encode

    def counted(self: Any, password: str, salt: str) -> str:
        passwords.append(password)
        encoded: str = encode(self, password, salt)
        return encoded

    monkeypatch.setattr(MD5PasswordHasher, "encode", counted)
    return passwords


@pytest.mark.parametrize("signed_in", [False, True])
def test_nothing_under_accounts_is_kept_by_anybody(client: Any, alice: User, signed_in: bool) -> None:
    if signed_in:
        client.force_login(alice)
    addresses = [*account_addresses(), "/accounts/no-such-page/"]
    assert "/accounts/2fa/totp/activate/" in addresses
    assert len(addresses) > 15
    for address in addresses:
        for response in (client.get(address), client.post(address)):
            assert "no-store" in response.headers.get("Cache-Control", ""), address
        if signed_in:
            client.force_login(alice)


def test_signing_up_hashes_as_many_passwords_whether_the_address_is_known_or_new(
    client: Any, alice: User, settings: Any, hashed: list[str]
) -> None:
    settings.ACCOUNT_EMAIL_VERIFICATION = "mandatory"
    counts = []
    for address in (alice.email, "dana@example.org"):
        before = len(hashed)
        assert client.post("/accounts/signup/", {**NEW, "email": address}).status_code == 302
        counts.append(len(hashed) - before)
    assert counts == [1, 1]


def test_signing_in_hashes_as_many_passwords_whether_the_address_is_known_or_not(
    client: Any, alice: User, hashed: list[str]
) -> None:
    counts = []
    for address in (alice.email, "nobody@example.org"):
        before = len(hashed)
        assert client.post("/accounts/login/", {"login": address, "password": "wrong-password"}).status_code == 200
        counts.append(len(hashed) - before)
    assert counts == [1, 1]


@pytest.mark.parametrize("host", ["testserver:9999", "assay.example", "assay.example:80"])
@pytest.mark.parametrize(
    ("page", "data"),
    [
        ("signup/", {**NEW, "email": "dana@example.org"}),
        ("signup/", {**NEW, "email": "alice@example.org"}),
        ("password/reset/", {"email": "alice@example.org"}),
        ("password/reset/", {"email": "nobody@example.org"}),
    ],
)
def test_links_in_mails_are_the_sites_own_whatever_host_was_asked(
    client: Any, alice: User, settings: Any, page: str, data: dict[str, str], host: str
) -> None:
    settings.ACCOUNT_EMAIL_VERIFICATION = "mandatory"
    settings.ALLOWED_HOSTS = ["testserver", "assay.example"]
    assert client.post(f"/accounts/{page}", data, headers={"Host": host}).status_code == 302
    [message] = mail.outbox
    links = re.findall(r"https?://\S+", message.body)
    assert len(links) == 1
    assert links[0].startswith(f"{settings.SITE_URL}/accounts/")
