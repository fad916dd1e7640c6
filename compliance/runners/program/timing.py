"""How long ago something was, also across a restart of the program, and how long to wait before trying again.

Nothing is decided by the wall clock, which may be wrong or jump. It is used for one thing only: how old a report
is that was written before the machine itself was started anew.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

_chance = random.SystemRandom()
_MOST_MS = 31_536_000_000  # a year: more can only be a clock that was wrong


def now() -> float:
    """Seconds on a clock that only goes forward, and goes on while the machine sleeps where the system has such."""
    which = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if which is None else time.clock_gettime(which)


@cache
def _boot() -> str:
    """Names this start of the machine; "" where the system does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""


def moment() -> dict[str, Any]:
    """This moment, to be kept in a file."""
    return {"boot": _boot(), "clock": now(), "wall": time.time()}


def age_ms(kept: Mapping[str, Any]) -> int:
    """How long ago a kept moment was, in milliseconds, never less than 0."""
    if kept.get("boot") and kept.get("boot") == _boot():
        seconds = now() - float(kept["clock"])
    else:
        seconds = time.time() - float(kept["wall"])
    return min(max(int(seconds * 1000), 0), _MOST_MS)


class Backoff:
    """Longer each time, and never all runners at once: anything up to a limit that doubles with each failure."""

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
