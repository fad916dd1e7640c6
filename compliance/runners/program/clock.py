"""Time that no one sets: how long ago something was, also across a restart of the program.

Nothing is decided by the wall clock, which may be wrong or jump. It is used for one thing only: how old a report
is that was written before the machine itself was started anew.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any


def now() -> float:
    """Seconds on a clock that only goes forward, and goes on while the machine sleeps where the system has such."""
    which = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if which is None else time.clock_gettime(which)


_MOST_MS = 31_536_000_000  # a year: more can only be a clock that was wrong


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
