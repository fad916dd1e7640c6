"""The cache: Redis, or this process's memory while Redis is away."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from django.core.cache.backends.locmem import LocMemCache
from django.core.cache.backends.redis import RedisCache
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)


class CircuitBreaker:
    """After a failure Redis is not asked for a while: a host that does not answer costs each call its timeout.

    One for all threads of a process.
    """

    PAUSE_SECONDS = 5

    def __init__(self) -> None:
        self.until = 0.0  # monotonic

    @property
    def is_open(self) -> bool:
        return time.monotonic() < self.until

    def trip(self, error: Exception, consequence: str) -> None:
        self.until = time.monotonic() + self.PAUSE_SECONDS
        logger.warning("Redis is away (%s); %s", type(error).__name__, consequence)


breaker = CircuitBreaker()


class RedisOrMemory(RedisCache):
    """What the limits on logins count in. They must neither fall, nor keep everybody out, with Redis.

    While Redis is away each process counts for itself: the limits hold, only looser, by the
    number of processes.
    """

    def __init__(self, server: str, params: dict[str, Any]) -> None:
        super().__init__(server, params)
        without_redis = {key: value for key, value in params.items() if key != "OPTIONS"}
        self.memory = LocMemCache("while-redis-is-away", without_redis)


def _or_memory(name: str) -> Callable[..., Any]:
    def method(cache: RedisOrMemory, *args: Any, **kwargs: Any) -> Any:
        if not breaker.is_open:
            try:
                return getattr(RedisCache, name)(cache, *args, **kwargs)
            except RedisError as error:
                breaker.trip(error, "caching in memory")
        return getattr(cache.memory, name)(*args, **kwargs)

    return method


for _name in (
    "add",
    "get",
    "set",
    "touch",
    "delete",
    "get_many",
    "has_key",
    "incr",
    "set_many",
    "delete_many",
    "clear",
):
    setattr(RedisOrMemory, _name, _or_memory(_name))
