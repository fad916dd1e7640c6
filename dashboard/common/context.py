"""What every template may use."""

from __future__ import annotations

from functools import cache

from django.conf import settings
from django.http import HttpRequest

from compliance.monitors.liveness import still_since


def site(request: HttpRequest) -> dict[str, object]:
    # Asked once for each page that shows it; who is not signed in is shown no results.
    user = getattr(request, "user", None)
    signed_in = user is not None and user.is_authenticated
    return {"DEMO": settings.DEMO, "still_since": cache(still_since) if signed_in else None}
