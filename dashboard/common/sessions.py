"""Sessions in the database, read with one short statement: every page does it, and the ORM's composing costs more."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.conf import settings
from django.contrib.sessions.backends.db import SessionStore as DatabaseSessionStore
from django.db import InterfaceError, OperationalError, connection
from django.utils import timezone

from compliance.monitors.liveness import STILL_SINCE


class SessionStore(DatabaseSessionStore):
    # Since when the tick stands still, for the banner of every page; None while it does not. The row brings it along.
    still_since: datetime | None = None

    def load(self) -> dict[str, Any]:
        """What the session holds; nothing, and no key any more, when there is none or it has expired."""
        found = self._read_first()
        if found is None:
            self._session_key = None
            return {}
        self.still_since = found[1]
        return self.decode(found[0])

    def _read_first(self) -> Any:
        """The row. As a request's first statement it is also its health check, which saves Django's SELECT 1."""
        if connection.connection is None or connection.health_check_done or connection.in_atomic_block:  # type: ignore[attr-defined]
            return self._read()
        connection.health_check_done = True  # type: ignore[attr-defined]
        try:
            return self._read()
        except (InterfaceError, OperationalError):
            connection.close()  # the server is another one by now, or has been away: ask once more, on a new connection
            return self._read()

    def _read(self) -> Any:
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT session_data, {STILL_SINCE} FROM django_session"  # noqa: S608 - text of our own
                " WHERE session_key = %s AND expire_date > %s",
                [settings.TICK_DEAD_AFTER_SECONDS, self.session_key, timezone.now()],
            )
            return cursor.fetchone()
