"""The database's connections, as the settings name them."""

from __future__ import annotations

import select

from django.db.backends.postgresql import base


class DatabaseWrapper(base.DatabaseWrapper):
    """A connection whose health is seen, and not asked for.

    Before a request's first statement Django asks the database whether a kept connection still works: a round trip
    for each request. A server that went away has closed its end or said goodbye, and then there is something to read
    where nothing is expected. Only then the question is put.
    """

    def is_usable(self) -> bool:
        if self.connection is None or self.connection.closed:
            return False
        looked = select.poll()
        looked.register(self.connection.fileno(), select.POLLIN | select.POLLPRI)
        if looked.poll(0):
            usable: bool = super().is_usable()
            return usable
        return True
