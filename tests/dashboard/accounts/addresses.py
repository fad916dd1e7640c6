"""Every address of accounts: signing up and in, passwords, e-mail addresses, two-factor authentication."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import allauth.urls
from django.urls import URLPattern, URLResolver, reverse

_VALUES: dict[str, dict[str, str]] = {
    "account_confirm_email": {"key": "MQ:1abcde:none"},
    "account_reset_password_from_key": {"uidb36": "1", "key": "set-password"},
}


def _patterns(below: Iterable[URLPattern | URLResolver]) -> Iterator[URLPattern]:
    for each in below:
        if isinstance(each, URLResolver):
            yield from _patterns(each.url_patterns)
        else:
            yield each


def account_addresses() -> list[str]:
    names = [pattern.name for pattern in _patterns(allauth.urls.urlpatterns)]
    return [reverse(name, kwargs=_VALUES.get(name)) for name in names if name]
