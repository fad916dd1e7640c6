"""The order and the ends of waiting, by themselves; tests/web has them in the real server."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compliance.runners.waiting import ASKED_MOST, Waiting, preferred_wait


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"wait=50", 50),
        (b"wait=500", 55),
        (b"respond-async, wait=10", 10),
        (b'WAIT = "7"; why=so', 7),
        (b"wait=-1", 0),
        (b"wait=1.5", 0),
        (b"wait", 0),
        (b"await=5", 0),
        (b"", 0),
    ],
)
def test_how_long_a_client_would_wait(value: bytes, seconds: int) -> None:
    assert preferred_wait([(b"host", b"localhost"), (b"prefer", value)]) == seconds


def test_who_does_not_say_does_not_wait() -> None:
    assert preferred_wait([(b"host", b"localhost")]) == 0


def begin(waiting: Waiting, *keys: str, since: float | None = None, seconds: float = 30) -> asyncio.Task[Any]:
    asked = time.monotonic() if since is None else since
    return asyncio.create_task(waiting.wait(keys, asked, seconds, asyncio.get_running_loop().create_future()))


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_work_that_came_between_question_and_waiting_is_asked_for_again() -> None:
    waiting = Waiting(asked_at_once=2)
    early = time.monotonic()
    waiting.wake("runner:1")
    late = begin(waiting, "runner:1", since=time.monotonic() + 1)
    await settle()
    assert not late.done(), "what was notified before the question was in its answer"
    assert await begin(waiting, "runner:1", since=early) == ("runner:1", 1)
    late.cancel()


async def test_one_notification_asks_a_bounded_number_each_once_and_the_next_goes_on_with_others() -> None:
    waiting = Waiting(asked_at_once=2)
    tasks: dict[int, asyncio.Task[Any]] = {number: begin(waiting, "pool:1") for number in range(ASKED_MOST + 3)}
    await settle()

    async def whole_round() -> list[int]:
        """Everybody who is asked comes back without work, and some is left."""
        order: list[int] = []
        waiting.wake("pool:1")
        await settle()
        while done := [number for number, task in tasks.items() if task.done()]:
            [number] = done
            order.append(number)
            _, others = tasks[number].result()
            waiting.wake("pool:1", others)
            tasks[number] = begin(waiting, "pool:1")
            await settle()
        return order

    assert await whole_round() == list(range(ASKED_MOST))
    assert (await whole_round())[:3] == list(range(ASKED_MOST, ASKED_MOST + 3))
    for task in tasks.values():
        task.cancel()


async def test_a_client_that_goes_as_it_is_woken_passes_it_on() -> None:
    waiting = Waiting(asked_at_once=2)
    gone = asyncio.get_running_loop().create_future()
    first = asyncio.create_task(waiting.wait(["pool:1"], time.monotonic(), 30, gone))
    await settle()
    second = begin(waiting, "pool:1")
    await settle()
    gone.set_result(None)
    waiting.wake("pool:1")
    assert await first == ("", 0)
    assert await second == ("pool:1", 0)
    assert (waiting.lines, waiting.count) == ({}, 0)


@settings(max_examples=50, deadline=None)
@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("enter"), st.integers(0, 7)),
            st.tuples(st.just("leave"), st.integers(0, 7)),
            st.tuples(st.just("wake"), st.integers(0, 2)),
        ),
        max_size=40,
    )
)
def test_everybody_who_enters_comes_out_exactly_once(steps: list[tuple[str, int]]) -> None:
    async def play() -> None:
        waiting = Waiting(asked_at_once=2)
        inside: list[tuple[tuple[str, str], asyncio.Task[Any]]] = []
        for number, (step, which) in enumerate(steps):
            if step == "enter":
                keys = (f"key:{which % 3}", f"own:{number}")
                inside.append((keys, begin(waiting, *keys, since=time.monotonic() + 1)))
            elif step == "leave" and inside:
                _, task = inside.pop(which % len(inside))
                task.cancel()
            elif step == "wake":
                first = next((one for one in inside if f"key:{which}" in one[0]), None)
                waiting.wake(f"key:{which}")
                await settle()
                if first is not None:
                    assert first[1].result()[0] == f"key:{which}"
                    inside.remove(first)
            await settle()
            assert not any(task.done() for _, task in inside)
            assert waiting.count == len(inside)
        for _, task in inside:
            task.cancel()
        await settle()
        assert (waiting.lines, waiting.count) == ({}, 0)

    asyncio.run(play())
