"""Answers health checks and metrics before sessions are touched."""

from __future__ import annotations

import logging
from collections.abc import Callable

import redis
from django.conf import settings
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse

from compliance.monitors.liveness import STILL_SINCE
from dashboard.ops import metrics

logger = logging.getLogger(__name__)

_REDIS_SECONDS = 2


class HealthMiddleware:
    """`/healthz` says that the process answers; it asks nobody else, so that it stays up when they are down.

    `/readyz` says whether the database and Redis answer and the tick goes on: whether to send readers here. It names
    the part that does not; why not is for the log, because anybody may ask.
    `/metrics` says who may have it, and what it holds, in dashboard/ops/metrics.py.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response
        self._redis = redis.Redis.from_url(
            settings.REDIS_URL, socket_connect_timeout=_REDIS_SECONDS, socket_timeout=_REDIS_SECONDS
        )

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path == "/healthz":
            return HttpResponse("ok\n", content_type="text/plain")
        if request.path == "/readyz":
            return self._readiness()
        if request.path == "/metrics":
            return metrics.answer(request)
        return self.get_response(request)

    def _readiness(self) -> HttpResponse:
        missing = [name for name in (_database_or_tick(), "" if self._redis_answers() else "redis") if name]
        text = f"not ready: {', '.join(missing)}\n" if missing else "ok\n"
        response = HttpResponse(text, content_type="text/plain", status=503 if missing else 200)
        response["Cache-Control"] = "no-store"
        return response

    def _redis_answers(self) -> bool:
        try:
            return bool(self._redis.ping())
        except redis.RedisError as error:
            logger.warning("Redis does not answer: %s", type(error).__name__)
            return False


def _database_or_tick() -> str:
    """Which of the two is missing; "" when neither is."""
    try:
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT rolsuper OR rolbypassrls, {STILL_SINCE} FROM pg_roles WHERE rolname = session_user",  # noqa: S608
                [settings.TICK_DEAD_AFTER_SECONDS],
            )
            passes_policies, still_since = cursor.fetchone()
    except DatabaseError as error:
        logger.warning("The database does not answer: %s", type(error).__name__)
        connection.close()
        return "database"
    if passes_policies:
        # Such a role sees every organization's rows whatever the policies say: better no service than that.
        logger.critical("DATABASE_URL names a role that passes row-level security; it must be the app role")
        return "database"
    if still_since is not None:
        logger.error("No tick has completed all of its phases since %s", still_since)
        return "tick"
    return ""
