"""Rate limits: calls in a minute, counted in Redis for all web processes."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from functools import cache

from django.conf import settings
from limits import RateLimitItemPerMinute
from limits.errors import StorageError
from limits.storage import RedisStorage
from limits.strategies import MovingWindowRateLimiter
from redis.backoff import NoBackoff
from redis.retry import Retry

from dashboard.common.cache import CircuitBreaker


@dataclass(frozen=True, slots=True)
class Rate:
    """A limit for each caller. name: what is counted; setting: the setting that has the number."""

    name: str
    setting: str

    @property
    def per_minute(self) -> int:
        number: int = getattr(settings, self.setting)
        return number


ORGANIZATION = Rate("api", "API_RATE_PER_MINUTE")
RUNNERS = Rate("api-runners", "RUNNER_RATE_PER_MINUTE")
WEBHOOKS = Rate("api-webhooks", "WEBHOOK_RATE_PER_MINUTE")
FAILED_KEYS = Rate("api-failed-keys", "API_FAILED_KEYS_PER_MINUTE")


@dataclass(frozen=True, slots=True)
class Count:
    """The state of a limit after a call."""

    rate: Rate
    allowed: bool
    remaining: int
    reset_seconds: int  # until the oldest call is forgotten

    @property
    def headers(self) -> dict[str, str]:
        return {
            "RateLimit-Limit": str(self.rate.per_minute),
            "RateLimit-Remaining": str(self.remaining),
            "RateLimit-Reset": str(self.reset_seconds),
        }


breaker = CircuitBreaker()


@cache
def limiter(redis_url: str) -> MovingWindowRateLimiter:
    storage = RedisStorage(
        redis_url,
        key_prefix="assay:limits",
        wrap_exceptions=True,
        socket_connect_timeout=1,
        socket_timeout=1,
        retry=Retry(NoBackoff(), 1),  # type: ignore[arg-type]
    )
    return MovingWindowRateLimiter(storage)


def count(rate: Rate, caller: str) -> Count | None:
    """Count a call, if the limit allows it. None when Redis is away: then nothing is limited."""
    if breaker.is_open:
        return None
    item = RateLimitItemPerMinute(rate.per_minute, namespace=rate.name)
    counter = limiter(settings.REDIS_URL)
    try:
        allowed = counter.hit(item, caller)
        window = counter.get_window_stats(item, caller)
    except StorageError as error:
        breaker.trip(error.storage_error, "the API's calls are not limited")
        return None
    return Count(rate, allowed, max(0, window.remaining), max(0, math.ceil(window.reset_time - time.time())))
