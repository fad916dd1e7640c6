"""Capacity for the engines that start programs beside the worker: who comes first is served first."""

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


def default_memory_mb() -> int:
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


def default_programs() -> int:
    """Three for each core that this process may use, of the machine or of the container's share of it."""
    cores: float = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path(_CGROUP_CPU).read_text("ascii").split()
        cores = min(cores, int(quota) / int(period))
    except (OSError, ValueError):
        pass  # no container, or one that may use every core ("max")
    return math.ceil(cores) * _FOR_EACH_CORE


class Slot:
    """What one run takes of the capacity: first waited for, then held, and given back in any case."""

    def __init__(self, capacity: Capacity, memory_mb: int) -> None:
        self.memory_mb = memory_mb
        self._capacity = capacity
        self._granted: Future[None] = Future()

    @property
    def held(self) -> bool:
        return self._granted.done() and not self._granted.cancelled()

    async def wait(self) -> None:
        """Return when the slot is there. Whoever is cancelled here still has to release it."""
        await asyncio.wrap_future(self._granted)

    def release(self) -> None:
        """Give the slot back, or stop waiting for it. From any thread; a second time does nothing."""
        self._capacity._release(self)

    def _grant(self) -> bool:
        if not self._granted.set_running_or_notify_cancel():
            return False
        self._granted.set_result(None)
        return True


class Capacity:
    """So much memory and so many programs, for runs on any event loop of this process."""

    def __init__(self, total_mb: int, programs: int | None = None) -> None:
        """programs: how many runs may hold a slot at once; None for as many as the memory takes."""
        self.total_mb = total_mb
        self.programs = programs
        self.taken_mb = 0
        self._lock = threading.Lock()
        self._waiting: deque[Slot] = deque()
        self._held: set[Slot] = set()

    def reserve(self, memory_mb: int) -> Slot:
        """A slot in the order of asking. What wants more than the whole gets all of it, alone.

        Engines that take none (0) never wait.
        """
        slot = Slot(self, min(max(memory_mb, 0), self.total_mb))
        with self._lock:
            if slot.memory_mb == 0:
                slot._grant()
            else:
                self._waiting.append(slot)
                self._admit()
        return slot

    def _admit(self) -> None:
        # Nobody overtakes: a large one would otherwise wait for as long as small ones come.
        while self._waiting and self._fits(self._waiting[0]):
            slot = self._waiting.popleft()
            if slot._grant():
                self.taken_mb += slot.memory_mb
                self._held.add(slot)

    def _fits(self, slot: Slot) -> bool:
        if self.programs is not None and len(self._held) >= self.programs:
            return False
        return self.taken_mb + slot.memory_mb <= self.total_mb

    def _release(self, slot: Slot) -> None:
        with self._lock:
            if slot in self._held:
                self._held.discard(slot)
                self.taken_mb -= slot.memory_mb
            elif slot in self._waiting:
                self._waiting.remove(slot)
            self._admit()
