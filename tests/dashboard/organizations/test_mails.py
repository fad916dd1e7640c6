"""The e-mails about an account: ours, with the product's name, and a link that works as it stands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import allauth
import pytest
from django.core import mail
from django.template.loader import render_to_string

from compliance.models import User
from tests.conftest import PASSWORD

STOCK = re.compile(r"Hello from|Thank you for using|example\.com|site_name|<|&amp;|&#", re.IGNORECASE)
NEW = {"name": "Dana & Co", "password1": PASSWORD, "password2": PASSWORD}


@pytest.mark.parametrize(
    ("path", "data", "subject", "leads_to"),
    [
        ("signup/", {**NEW, "email": "dana@example.org"}, "Confirm your e-mail address for Assay", "confirm-email/"),
        (
            "signup/",
            {**NEW, "email": "alice@example.org"},
            "You have an Assay account already",
            "password/reset/",
        ),
        (
            "password/reset/",
            {"email": "alice@example.org"},
            "Choose a new password for Assay",
            "password/reset/key/",
        ),
        ("password/reset/", {"email": "nobody@example.org"}, "No Assay account with this address", "signup/"),
    ],
)
def test_mails_are_ours_and_their_link_opens(
    client: Any, alice: User, settings: Any, path: str, data: dict[str, str], subject: str, leads_to: str
) -> None:
    settings.ACCOUNT_EMAIL_VERIFICATION = "mandatory"
    assert client.post(f"/accounts/{path}", data).status_code == 302
    [message] = mail.outbox
    assert message.subject == subject
    assert message.to == [data["email"]]
    assert STOCK.search(message.body) is None, message.body
    [link] = re.findall(r"http://testserver(/\S+)", message.body)
    assert link.startswith(f"/accounts/{leads_to}")
    assert client.get(link, follow=True).status_code == 200


def test_every_mail_that_an_account_may_send_is_framed_by_ours() -> None:
    """Also those that are switched on by a setting later."""
    folder = Path(allauth.__file__).parent / "templates"
    names = [str(path.relative_to(folder)) for path in folder.glob("*/email/*_message.txt")]
    assert len(names) > 15
    for name in names:
        if name.endswith("/base_message.txt"):
            continue
        body = render_to_string(name, {"email": "o'neil@example.org", "activate_url": "https://a.example/?a=1&b=2"})
        assert body.strip().startswith("Hello,"), name
        assert "keeps an append-only history of every test" in body, name
        assert STOCK.search(body) is None, (name, body)
