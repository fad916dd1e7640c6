"""How often: limits of a minute, counted in Redis for all web processes."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from limits import RateLimitItemPerMinute
from limits.storage import RedisStorage
from limits.strategies import MovingWindowRateLimiter
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError
from redis.retry import Retry

logger = logging.getLogger(__name__)

RETRY_AFTER_SECONDS = 5  # how long Redis is left alone once it did not answer


@dataclass(frozen=True, slots=True)
class Rate:
    """A limit of a minute, for each whom it is counted for. name: what is counted; setting: where its number is."""

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
    """How a limit stands."""

    rate: Rate
    allowed: bool
    remaining: int
    reset_seconds: int  # until there is room for one more, when nothing is left; else until the oldest is forgotten

    @property
    def headers(self) -> dict[str, str]:
        """The standing, as a client reads it."""
        return {
            "RateLimit-Limit": str(self.rate.per_minute),
            "RateLimit-Remaining": str(self.remaining),
            "RateLimit-Reset": str(self.reset_seconds),
        }


class _Redis:
    """The counter, made when it is first asked; and until when (monotonic) it is left alone. One for all threads."""

    limiter: MovingWindowRateLimiter | None = None
    away_until = 0.0


def _limiter() -> MovingWindowRateLimiter:
    if _Redis.limiter is None:
        storage = RedisStorage(
            settings.REDIS_URL,
            key_prefix="assay:limits",
            socket_connect_timeout=1,
            socket_timeout=1,
            retry=Retry(NoBackoff(), 1),  # type: ignore[arg-type]
        )
        _Redis.limiter = MovingWindowRateLimiter(storage)
    return _Redis.limiter


def _item(rate: Rate) -> RateLimitItemPerMinute:
    return RateLimitItemPerMinute(rate.per_minute, namespace=rate.name)


def count(rate: Rate, whom: str) -> Count | None:
    """Count one more for whom, if there is room. None when Redis is away: then nothing is limited."""
    if time.monotonic() < _Redis.away_until:
        return None
    item = _item(rate)
    try:
        allowed, oldest, counted = _hit(item, whom)
    except RedisError as error:
        # Remembered for a while: a host that does not answer would cost every call its timeout.
        _Redis.away_until = time.monotonic() + RETRY_AFTER_SECONDS
        logger.warning("Redis is away (%s); the API's calls are not limited", type(error).__name__)
        return None
    reset_seconds = math.ceil(oldest + item.get_expiry() - time.time())
    return Count(rate, allowed, max(0, item.amount - counted), max(0, reset_seconds))


def _hit(item: RateLimitItemPerMinute, whom: str) -> tuple[bool, float, int]:
    """Whether there was room; when (seconds since 1970) the oldest was counted, and how many are. One round trip."""
    limiter = _limiter()
    storage: Any = limiter.storage
    key, now = storage.prefixed_key(item.key_for(whom)), time.time()
    # The library's own scripts, which it would ask for one after the other.
    hit, look = storage.lua_acquire_moving_window.sha, storage.lua_moving_window.sha
    try:
        with storage.storage.pipeline(transaction=False) as both:
            both.evalsha(hit, 1, key, now, item.amount, item.get_expiry(), 1)
            both.evalsha(look, 1, key, now - item.get_expiry(), item.amount)
            allowed, window = both.execute()
    except NoScriptError:
        # Redis was emptied or is new; asked so, the library brings its scripts along.
        allowed = limiter.hit(item, whom)
        window = storage.get_moving_window(item.key_for(whom), item.amount, item.get_expiry())
    oldest, counted = window or (now, 0)
    return bool(allowed), float(oldest), int(counted)
