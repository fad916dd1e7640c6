"""Celery's way to Redis, for workers that outlive a broker that goes away.

As kombu has it, a message belongs to the connection that brought it. When that one breaks while a task runs, the
worker gives the message back, or acknowledges it when the task ends, over the connection that is no more, and ends with
an AttributeError: the other tests that it runs are lost with it.
"""

from __future__ import annotations

import logging
from typing import Any

from kombu.transport import redis
from redis import Redis
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

# What kombu keeps, by the beginning of the key's name, as what; its lists are the queues.
_TYPES = {"_kombu.binding.": b"set", "unacked_index": b"zset", "unacked_mutex": b"string", "unacked": b"hash"}
_QUEUES = ("celery", ".celery.pidbox")  # the one of tasks, also with a priority, and those that reach one worker each


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


def mend(redis_url: str, prefix: str) -> None:
    """Delete the keys of the broker that are of another type than kombu needs: no worker starts beside one.

    Nothing is lost that does not come back: the rows are the queue, and the cleanup dispatches the jobs again. A Redis
    that is away is left to the worker, which waits for it.
    """
    try:
        with Redis.from_url(redis_url, socket_connect_timeout=5, socket_timeout=5) as client:
            for key in client.scan_iter(match=f"{prefix}*"):
                expected = _type_of(key.decode(errors="replace").removeprefix(prefix))
                if expected is not None and (found := client.type(key)) not in (expected, b"none"):
                    client.delete(key)
                    logger.warning("%r in Redis was a %s, and is deleted: it must be a %s", key, found, expected)
    except RedisError as error:
        logger.warning("The broker's keys were not looked at: %s", type(error).__name__)


def _type_of(name: str) -> bytes | None:
    """The type of a key of kombu; None for those of others, such as caches."""
    for beginning, kind in _TYPES.items():
        if name.startswith(beginning):
            return kind
    return b"list" if name.startswith(_QUEUES[0]) or name.endswith(_QUEUES[1]) else None
