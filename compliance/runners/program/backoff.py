"""How long to wait before trying again: longer each time, and never all runners at once."""

from __future__ import annotations

import random

_chance = random.SystemRandom()


class Backoff:
    """Full jitter: anything between nothing and a limit that doubles with each failure."""

    def __init__(self, *, first: float = 1.0, most: float = 60.0) -> None:
        self.first = first
        self.most = most
        self.failures = 0

    def failed(self, retry_after: float | None = None) -> float:
        """Seconds to wait now. What the server asked for comes first, and the jitter on top of it."""
        limit = min(self.first * 2 ** min(self.failures, 30), self.most)
        self.failures += 1
        return (retry_after or 0.0) + _chance.uniform(0.0, limit)

    def worked(self) -> None:
        self.failures = 0


def jittered(seconds: float, share: float) -> float:
    """So many seconds and up to a share of them more."""
    return seconds * (1 + _chance.uniform(0.0, share))
