"""Runs that take memory beside the worker wait for each other, in order, and never for ever."""

from __future__ import annotations

import asyncio
import sys
import threading
from pathlib import Path

import psutil
import pytest

from compliance.engines.process import capacity as room_module
from compliance.engines.process.capacity import Capacity, default_memory_mb, default_programs
from compliance.engines.process.runner import ProcessLimits, run_process, scratch_folder
from tests.processes import wait_for

pytestmark = pytest.mark.processes


async def test_places_are_given_until_the_room_is_full() -> None:
    capacity = Capacity(1000)
    first, second, third = capacity.reserve(400), capacity.reserve(600), capacity.reserve(100)

    assert (first.held, second.held, third.held) == (True, True, False)
    first.release()
    assert third.held
    assert capacity.taken_mb == 700


async def test_who_comes_first_is_served_first() -> None:
    capacity = Capacity(1000)
    holder = capacity.reserve(600)
    large, small = capacity.reserve(800), capacity.reserve(100)

    assert not small.held, "it has overtaken the large one"
    holder.release()
    assert large.held
    assert small.held


async def test_no_more_programs_at_once_than_the_room_takes_however_small_they_are() -> None:
    capacity = Capacity(1000, programs=2)
    first, second, third = capacity.reserve(1), capacity.reserve(1), capacity.reserve(1)

    assert (first.held, second.held, third.held) == (True, True, False)
    assert capacity.reserve(0).held, "engines inside the worker start no program"
    second.release()
    assert third.held


async def test_one_that_wants_more_than_the_room_runs_alone() -> None:
    capacity = Capacity(1000)
    small, giant, after = capacity.reserve(1), capacity.reserve(5000), capacity.reserve(1)

    assert not giant.held
    small.release()
    assert giant.held
    assert not after.held
    giant.release()
    assert after.held


async def test_engines_inside_the_worker_never_wait() -> None:
    capacity = Capacity(1000)
    capacity.reserve(1000)
    capacity.reserve(1000)

    assert capacity.reserve(0).held


async def test_cancelled_wait_lets_the_next_one_in() -> None:
    capacity = Capacity(1000)
    holder = capacity.reserve(500)
    large, small = capacity.reserve(1000), capacity.reserve(100)
    waiting = asyncio.ensure_future(large.wait())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    large.release()

    assert small.held
    holder.release()
    small.release()
    assert capacity.taken_mb == 0


async def test_place_that_was_given_to_one_who_was_cancelled_comes_back() -> None:
    capacity = Capacity(1000)
    holder, next_one = capacity.reserve(1000), capacity.reserve(1000)
    waiting = asyncio.ensure_future(next_one.wait())
    await asyncio.sleep(0)
    holder.release()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    next_one.release()

    assert capacity.taken_mb == 0


async def test_second_release_gives_nothing_back() -> None:
    capacity = Capacity(1000)
    first, second = capacity.reserve(500), capacity.reserve(500)
    first.release()
    first.release()

    assert (capacity.taken_mb, second.held) == (500, True)


def test_runs_of_several_event_loops_share_one_room() -> None:
    capacity = Capacity(100)
    now, most, lock = 0, 0, threading.Lock()

    async def one() -> None:
        nonlocal now, most
        slot = capacity.reserve(40)
        try:
            await slot.wait()
            with lock:
                now += 1
                most = max(most, now)
            await asyncio.sleep(0.001)
            with lock:
                now -= 1
        finally:
            slot.release()

    async def many() -> None:
        await asyncio.gather(*(one() for _ in range(50)))

    threads = [threading.Thread(target=asyncio.run, args=(many(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert (most, now, capacity.taken_mb) == (2, 0, 0)


async def test_processes_at_once_stay_within_the_room(tmp_path: Path) -> None:
    capacity = Capacity(250)
    begun: list[int] = []
    code = """
import os, sys, time
held = bytearray(b"x") * 30_000_000
print("began", flush=True)
while not os.path.exists(sys.argv[1]): time.sleep(0.02)
"""

    async def one(number: int) -> None:
        slot = capacity.reserve(100)
        try:
            await slot.wait()
            with scratch_folder() as folder:
                done = await run_process(
                    [sys.executable, "-c", code, str(tmp_path / str(number))],
                    limits=ProcessLimits(seconds=30, memory_mb=100),
                    env={},
                    folder=folder,
                    on_line=lambda _: begun.append(number),
                )
            assert done.returncode == 0, done.stderr
        finally:
            slot.release()

    tasks = [asyncio.ensure_future(one(number)) for number in range(5)]
    for number in range(5):
        await asyncio.to_thread(wait_for, lambda wanted=number: wanted in begun, what=f"the start of {number}")
        assert set(begun) <= set(range(number + 2)), "one has begun before its turn"
        (tmp_path / str(number)).touch()
        await tasks[number]


def test_room_of_a_machine_is_a_quarter_of_it_and_enough_for_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    memory_mb = psutil.virtual_memory().total // (1024 * 1024)
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(room_module, "_CGROUP_FILES", (str(tmp_path / "none"), str(limit)))

    assert default_memory_mb() == max(memory_mb // 4, 1024)
    limit.write_text("max\n")
    assert default_memory_mb() == max(memory_mb // 4, 1024)
    limit.write_text(str(6 * 1024**3))
    assert default_memory_mb() == max(min(memory_mb, 6 * 1024) // 4, 1024)
    limit.write_text(str(512 * 1024**2))
    assert default_memory_mb() == 1024


def test_programs_by_default_follow_the_cores_that_a_container_may_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    share = tmp_path / "cpu.max"
    monkeypatch.setattr(room_module, "_CGROUP_CPU", str(share))
    monkeypatch.setattr(room_module.os, "sched_getaffinity", lambda pid: set(range(4)))
    assert default_programs() == 12
    share.write_text("max 100000\n")
    assert default_programs() == 12
    share.write_text("150000 100000\n")
    assert default_programs() == 6
