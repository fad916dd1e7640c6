"""Limits on mails and guesses count in the cache, which outlives a test."""

from __future__ import annotations

import pytest
from django.core.cache import caches


@pytest.fixture(autouse=True)
def fresh_limits() -> None:
    caches["default"].clear()
