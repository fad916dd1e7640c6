"""Who waits for which key, in which order they are asked again, and when their time is over.

Knows neither sockets nor the database. Used by one thread only, apart from `keys`.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

# Of one pool, for one notification. Whoever came back empty-handed goes to the end of the line, so that the next
# notification or look into the database goes on with others; without a bound, work that nobody here can take would
# have all of them asked.
ASKED_MOST = 16
_MISSED_MOST = 4096  # keys; forgetting them costs the time until the next look into the database, no work


class Waiter:
    """One request that waits.

    `keys` are what wakes it, `deadline` ends its wait, `asked_at` is when its last answer began to be made; both are
    seconds of the monotonic clock.
    """

    def __init__(self, keys: Sequence[str], *, asked_at: float, deadline: float) -> None:
        self.keys = tuple(keys)
        self.asked_at = asked_at
        self.deadline = deadline
        self.round: Round[Any] | None = None


W = TypeVar("W", bound=Waiter)


class Round(Generic[W]):
    """What one notification sets off: one waiter after the other is asked, none of them twice."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.asked: set[W] = set()


class WaitingRoom(Generic[W]):
    def __init__(self) -> None:
        self._waiters: dict[W, None] = {}
        self._by_key: dict[str, dict[W, None]] = {}
        self._deadlines: list[tuple[float, int, W]] = []
        self._numbers = itertools.count()
        self._missed: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._waiters)

    def keys(self) -> list[str]:
        """The keys that somebody waits for. For the listener's thread too: copying them is one step of Python's."""
        return list(self._by_key)

    def enter(self, waiter: W) -> bool:
        """Begin to wait, at the end of the line; False when a key came since `asked_at`, and it must be asked again.

        Then the waiter does not wait, and `waiter.round` says for what it is asked.
        """
        for key in waiter.keys:
            if self._missed.get(key, float("-inf")) >= waiter.asked_at:
                del self._missed[key]
                self._call(waiter, Round(key))
                return False
        self._waiters[waiter] = None
        for key in waiter.keys:
            self._by_key.setdefault(key, {})[waiter] = None
        heapq.heappush(self._deadlines, (waiter.deadline, next(self._numbers), waiter))
        return True

    def leave(self, waiter: W) -> bool:
        """Stop waiting; False when it did not wait."""
        if waiter not in self._waiters:
            return False
        del self._waiters[waiter]
        for key in waiter.keys:
            line = self._by_key[key]
            del line[waiter]
            if not line:
                del self._by_key[key]
        return True

    def wake(self, key: str, *, now: float) -> W | None:
        """Take the first who waits for this key out of the room, to be asked again."""
        waiter = self.next_of(Round(key))
        if waiter is None:
            # Its answer may just be on the way here, made before what this key stands for was committed.
            if len(self._missed) >= _MISSED_MOST:
                self._missed.clear()
            self._missed[key] = now
        return waiter

    def next_of(self, round_: Round[W]) -> W | None:
        """The next in this round, out of the room as well."""
        if len(round_.asked) >= ASKED_MOST:
            return None
        for waiter in self._by_key.get(round_.key, ()):
            if waiter not in round_.asked:
                self.leave(waiter)
                self._call(waiter, round_)
                return waiter
        return None

    def has_next(self, round_: Round[W]) -> bool:
        """Whether `next_of` would find somebody."""
        line = self._by_key.get(round_.key, {})
        return len(round_.asked) < ASKED_MOST and any(waiter not in round_.asked for waiter in line)

    def expired(self, now: float) -> list[W]:
        """Take out everybody whose time is over."""
        over = []
        while self._deadlines and (self._deadlines[0][0] <= now or not self._is_current(self._deadlines[0][2])):
            _, _, waiter = heapq.heappop(self._deadlines)
            if self.leave(waiter):
                over.append(waiter)
        return over

    def everybody(self) -> list[W]:
        """Take everybody out, the longest waiting first."""
        waiters = list(self._waiters)
        for waiter in waiters:
            self.leave(waiter)
        self._deadlines.clear()
        return waiters

    def next_deadline(self) -> float | None:
        """When `expired` will next have something to say, or earlier."""
        return self._deadlines[0][0] if self._deadlines else None

    def _is_current(self, waiter: W) -> bool:
        return waiter in self._waiters

    def _call(self, waiter: W, round_: Round[W]) -> None:
        round_.asked.add(waiter)
        waiter.round = round_
