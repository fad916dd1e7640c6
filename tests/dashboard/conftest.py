"""Pages as their readers see them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from compliance.models import User


@pytest.fixture
def reader() -> Callable[[User], Client]:
    """A browser of its own for each user."""

    def sign_in(user: User) -> Client:
        client = Client()
        client.force_login(user)
        return client

    return sign_in


@pytest.fixture(autouse=True)
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """The messages that would have gone to the workers."""
    messages: list[tuple[Any, ...]] = []
    monkeypatch.setattr("compliance.jobs.dispatch.send", lambda task, *args: messages.append((task, *args)))
    return messages
