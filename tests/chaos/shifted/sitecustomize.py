"""Loaded by Python itself when this folder is on PYTHONPATH: the process's calendar is off, its monotonic clock is not.

CLOCK_OFF_SECONDS says by how much. It stands for a machine whose clock was set wrong.
"""

from __future__ import annotations

import datetime
import os
import time

_OFF = float(os.environ.get("CLOCK_OFF_SECONDS", "0"))
_time, _time_ns, _real = time.time, time.time_ns, datetime.datetime


class _Meta(type(_real)):
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _real)


class _Shifted(_real, metaclass=_Meta):
    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:
        return _real.fromtimestamp(_time() + _OFF, tz)

    @classmethod
    def utcnow(cls) -> datetime.datetime:
        return cls.now(datetime.UTC).replace(tzinfo=None)


if _OFF:
    time.time = lambda: _time() + _OFF
    time.time_ns = lambda: _time_ns() + int(_OFF * 1e9)
    datetime.datetime = _Shifted
