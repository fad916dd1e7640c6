"""Signing in and protecting an account: the pages answer, and the limits hold without Redis."""

from __future__ import annotations

import re
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import (
    format_hotp_value,
    generate_totp_secret,
    hotp_value,
    yield_hotp_counters_from_time,
)
from django.core import mail
from django.core.cache import caches
from redis.exceptions import ConnectionError as RedisConnectionError

from compliance.models import User
from dashboard.common import cache
from tests.conftest import PASSWORD
from tests.dashboard.pages import markup

PUBLIC = ["login/", "signup/", "password/reset/", "password/reset/done/", "confirm-email/", "inactive/"]
SIGNED_IN = ["logout/", "email/", "password/change/", "2fa/", "reauthenticate/"]


@pytest.mark.parametrize("page", PUBLIC)
def test_public_pages_are_ours(client: Any, db: None, page: str) -> None:
    response = client.get(f"/accounts/{page}")
    text = markup(response)
    assert response.status_code == 200
    assert 'class="navbar' in text
    assert "Menu:" not in text
    for identifier in re.findall(r'<(?:input|select)[^>]* id="([^"]+)"', text):
        assert f'for="{identifier}"' in text, f"{identifier} has no label"


@pytest.mark.parametrize("page", SIGNED_IN)
def test_pages_of_an_account_are_ours(client: Any, alice: User, page: str) -> None:
    client.force_login(alice)
    response = client.get(f"/accounts/{page}")
    assert response.status_code == 200
    assert 'class="navbar' in markup(response)


def test_the_forms_tell_browsers_what_they_ask_for(client: Any, db: None) -> None:
    login = markup(client.get("/accounts/login/"))
    assert 'autocomplete="email"' in login
    assert 'autocomplete="current-password"' in login
    signup = markup(client.get("/accounts/signup/"))
    assert signup.count('autocomplete="new-password"') == 2
    assert 'autocomplete="name"' in signup


def test_a_new_password_by_mail(client: Any, alice: User) -> None:
    assert client.post("/accounts/password/reset/", {"email": alice.email}).status_code == 302
    link = re.search(r"http://testserver(/accounts/password/reset/key/\S+)", mail.outbox[0].body)
    assert link
    form = client.get(link.group(1), follow=True)
    where = form.redirect_chain[-1][0]
    fresh = "another-horse-battery"
    assert client.post(where, {"password1": fresh, "password2": fresh}).status_code == 302
    alice.refresh_from_db()
    assert alice.check_password(fresh)
    again = client.get(link.group(1), follow=True)
    assert "does not work any more" in markup(again)


def test_a_second_factor_from_the_picture_to_the_next_sign_in(client: Any, alice: User) -> None:
    client.post("/accounts/login/", {"login": alice.email, "password": PASSWORD})
    alice.emailaddress_set.update(verified=True)
    asked = client.get("/accounts/2fa/totp/activate/", follow=True)
    assert "Is it you?" in markup(asked)
    page = client.post(asked.redirect_chain[-1][0], {"password": PASSWORD}, follow=True)
    assert page.status_code == 200, page.headers
    text = markup(page)
    assert 'src="data:image/svg+xml' in text
    assert "img-src 'self' data:" in page.headers["Content-Security-Policy"]
    secret = page.context["form"].secret
    code = format_hotp_value(hotp_value(secret, next(iter(yield_hotp_counters_from_time()))))
    response = client.post("/accounts/2fa/totp/activate/", {"code": code}, follow=True)
    assert "Recovery codes" in markup(response)
    assert Authenticator.objects.filter(user=alice, type="totp").exists()
    codes = client.get("/accounts/2fa/recovery-codes/").context["unused_codes"]
    client.logout()
    response = client.post("/accounts/login/", {"login": alice.email, "password": PASSWORD}, follow=True)
    assert "Enter your code" in markup(response)
    response = client.post("/accounts/2fa/authenticate/", {"code": codes[0]}, follow=True)
    assert response.context["user"] == alice
    assert generate_totp_secret() != secret


class TestRedisIsAway:
    @pytest.fixture(autouse=True)
    def away(self, monkeypatch: Any) -> list[str]:
        """Redis refuses every connection; returns what was tried."""
        tried: list[str] = []

        def refuse(name: str) -> Any:
            def call(*args: Any, **kwargs: Any) -> None:
                tried.append(name)
                raise RedisConnectionError("refused")

            return call

        for name in ("add", "get", "set", "delete", "incr", "get_many"):
            monkeypatch.setattr(cache.RedisCache, name, refuse(name))
        monkeypatch.setattr(cache.breaker, "until", 0.0)
        caches["default"].memory.clear()
        return tried

    def test_people_sign_in(self, client: Any, alice: User) -> None:
        response = client.post("/accounts/login/", {"login": alice.email, "password": PASSWORD})
        assert (response.status_code, response.url) == (302, "/")

    def test_the_limit_on_guessing_holds(self, client: Any, alice: User) -> None:
        wrong = {"login": alice.email, "password": "wrong-horse-battery"}
        answers = [markup(client.post("/accounts/login/", wrong)) for _ in range(8)]
        assert "Too many failed login attempts" in answers[-1]
        right = client.post("/accounts/login/", {"login": alice.email, "password": PASSWORD})
        assert right.status_code == 200, "also for the right password, while the limit holds"

    def test_a_host_that_does_not_answer_is_not_asked_each_time(self, away: list[str], client: Any) -> None:
        for number in range(5):
            caches["default"].set("key", number)
        assert caches["default"].get("key") == 4
        assert away == ["set"]
