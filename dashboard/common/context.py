"""What every template may use."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest


def site(request: HttpRequest) -> dict[str, object]:
    # Asked for when the session was read; who has none is shown no results.
    still_since = getattr(getattr(request, "session", None), "still_since", None)
    return {"DEMO": settings.DEMO, "still_since": still_since}
