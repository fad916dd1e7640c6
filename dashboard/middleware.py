"""Answers health checks before sessions are touched."""

from __future__ import annotations

import logging
from collections.abc import Callable

import redis
from django.conf import settings
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse

logger = logging.getLogger(__name__)

_REDIS_SECONDS = 2


class HealthMiddleware:
    """`/healthz` says that the process answers; it asks nobody else, so that it stays up when they are down.

    `/readyz` says whether the database and Redis answer: whether to send readers here. It names
    the part that does not; why not is for the log, because anybody may ask.
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
        return self.get_response(request)

    def _readiness(self) -> HttpResponse:
        missing = [name for name, answers in (("database", _database), ("redis", self._redis_answers)) if not answers()]
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


def _database() -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = session_user")
            passes_policies = cursor.fetchone()[0]
    except DatabaseError as error:
        logger.warning("The database does not answer: %s", type(error).__name__)
        connection.close()
        return False
    if passes_policies:
        # Such a role sees every organization's rows whatever the policies say: better no service than that.
        logger.critical("DATABASE_URL names a role that passes row-level security; it must be the app role")
    return not passes_policies
