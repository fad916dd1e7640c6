"""Celery's way to Redis, for workers that outlive a broker that goes away.

As kombu has it, a message belongs to the connection that brought it. When that one breaks while a task runs, the
worker gives the message back, or acknowledges it when the task ends, over the connection that is no more, and ends with
an AttributeError: the other tests that it runs are lost with it.
"""

from __future__ import annotations

from typing import Any

from kombu.transport import redis


class Channel(redis.Channel):
    """Lets go of what it can no longer acknowledge. Nobody needs it back: the rows are the queue."""

    do_restore = False  # the cleanup dispatches the jobs again, and the beat sends the rest

    def basic_ack(self, delivery_tag: Any, multiple: bool = False) -> None:
        if not self.closed:
            super().basic_ack(delivery_tag, multiple=multiple)

    def basic_reject(self, delivery_tag: Any, requeue: bool = False) -> None:
        if not self.closed:
            super().basic_reject(delivery_tag, requeue=requeue)


def use() -> None:
    """Make it the channel of redis:// addresses in this process."""
    redis.Transport.Channel = Channel
