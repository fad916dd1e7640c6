"""What every template may use."""

from __future__ import annotations

from functools import cache

from django.conf import settings
from django.http import HttpRequest

from compliance.monitors.liveness import still_since


def site(request: HttpRequest) -> dict[str, object]:
    user = getattr(request, "user", None)
    # Who is not signed in is shown no results. Otherwise it is asked once for each request that shows it: tables are
    # rendered with a context of their own.
    if not hasattr(request, "still_since"):
        request.still_since = cache(still_since) if user and user.is_authenticated else None  # type: ignore[attr-defined]
    return {"DEMO": settings.DEMO, "still_since": request.still_since}  # type: ignore[attr-defined]
