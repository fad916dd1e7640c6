"""Room for the engines that start programs beside the worker: who comes first is served first."""

from __future__ import annotations

import asyncio
import math
import os
import threading
from collections import deque
from concurrent.futures import Future
from pathlib import Path

import psutil  # type: ignore[import-untyped]

_MIB = 1024 * 1024
_SHARE = 4  # a quarter of the machine's memory is for engines, when nobody says otherwise
_LEAST_MB = 1024
_FOR_EACH_CORE = 3  # programs: a run keeps a core busy for most of its time, unless its agent is slow
# What a container may take, which psutil does not know: cgroups in their second and in their first version.
_CGROUP_FILES = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_CGROUP_CPU = "/sys/fs/cgroup/cpu.max"


def default_room_mb() -> int:
    """A quarter of the memory of the machine, or of the container, and at least 1024 MiB."""
    total: int = psutil.virtual_memory().total
    for name in _CGROUP_FILES:
        try:
            text = Path(name).read_text("ascii").strip()
        except OSError:
            continue
        if text.isdigit():
            total = min(total, int(text))
    return max(total // _MIB // _SHARE, _LEAST_MB)


def default_room_programs() -> int:
    """Three for each core that this process may use, of the machine or of the container's share of it."""
    cores: float = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path(_CGROUP_CPU).read_text("ascii").split()
        cores = min(cores, int(quota) / int(period))
    except (OSError, ValueError):
        pass  # no container, or one that may use every core ("max")
    return math.ceil(cores) * _FOR_EACH_CORE


class Place:
    """What one run takes of a room: first waited for, then held, and given back in any case."""

    def __init__(self, room: Room, memory_mb: int) -> None:
        self.memory_mb = memory_mb
        self._room = room
        self._granted: Future[None] = Future()

    @property
    def held(self) -> bool:
        return self._granted.done() and not self._granted.cancelled()

    async def wait(self) -> None:
        """Return when the place is there. Whoever is cancelled here still has to release it."""
        await asyncio.wrap_future(self._granted)

    def release(self) -> None:
        """Give the place back, or stop waiting for it. From any thread; a second time does nothing."""
        self._room._release(self)

    def _grant(self) -> bool:
        if not self._granted.set_running_or_notify_cancel():
            return False
        self._granted.set_result(None)
        return True


class Room:
    """So much memory and so many programs, for runs on any event loop of this process."""

    def __init__(self, total_mb: int, programs: int | None = None) -> None:
        """programs: how many runs may hold a place at once; None for as many as the memory takes."""
        self.total_mb = total_mb
        self.programs = programs
        self.taken_mb = 0
        self._lock = threading.Lock()
        self._waiting: deque[Place] = deque()
        self._held: set[Place] = set()

    def reserve(self, memory_mb: int) -> Place:
        """A place in the order of asking. What wants more than the whole room gets all of it, alone.

        Engines that take none (0) never wait.
        """
        place = Place(self, min(max(memory_mb, 0), self.total_mb))
        with self._lock:
            if place.memory_mb == 0:
                place._grant()
            else:
                self._waiting.append(place)
                self._admit()
        return place

    def _admit(self) -> None:
        # Nobody overtakes: a large one would otherwise wait for as long as small ones come.
        while self._waiting and self._fits(self._waiting[0]):
            place = self._waiting.popleft()
            if place._grant():
                self.taken_mb += place.memory_mb
                self._held.add(place)

    def _fits(self, place: Place) -> bool:
        if self.programs is not None and len(self._held) >= self.programs:
            return False
        return self.taken_mb + place.memory_mb <= self.total_mb

    def _release(self, place: Place) -> None:
        with self._lock:
            if place in self._held:
                self._held.discard(place)
                self.taken_mb -= place.memory_mb
            elif place in self._waiting:
                self._waiting.remove(place)
            self._admit()
