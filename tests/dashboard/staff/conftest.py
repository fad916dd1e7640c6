"""A staff member who is signed in, with and without a reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from compliance.models import User

REASON = "Ticket 4711"


@pytest.fixture(autouse=True)
def without_second_factor(settings: Any) -> None:
    settings.STAFF_REQUIRES_MFA = False


@pytest.fixture
def staff_without_reason(log_in: Callable[[User], Any], staff_user: User) -> Any:
    return log_in(staff_user)


@pytest.fixture
def staff(staff_without_reason: Any) -> Any:
    """The client of a staff member who has given a reason for access."""
    staff_without_reason.post("/staff/reason/", {"reason": REASON})
    return staff_without_reason
