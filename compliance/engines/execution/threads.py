"""Engines run on event loops of their own, and never for longer than they may take.

One that blocks its loop holds up nobody else's runs.
"""

from __future__ import annotations

import asyncio
import gc
import threading
from functools import lru_cache

from compliance.engines.contract import Engine, OnStep, Target
from compliance.engines.reports.model import Report

_loops: dict[str, asyncio.AbstractEventLoop] = {}
_loops_lock = threading.Lock()


def engine_loop(engine: str) -> asyncio.AbstractEventLoop:
    """The engine's own loop, in a thread of its own."""
    with _loops_lock:
        loop = _loops.get(engine)
        if loop is None:
            _freeze()
            loop = _loops[engine] = asyncio.new_event_loop()
            threading.Thread(target=loop.run_forever, name=f"engine {engine}", daemon=True).start()
        return loop


@lru_cache(maxsize=1)
def _freeze() -> None:
    # What was loaded stays for good: the collector need not walk through the SDKs again with every run.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def abandon_loop(engine: str, loop: asyncio.AbstractEventLoop) -> None:
    """Leave a blocked loop to itself, and its thread with it; the engine's next run gets another."""
    with _loops_lock:
        if _loops.get(engine) is loop:
            del _loops[engine]


def overdue_words(engine: str) -> str:
    return f"the engine {engine} did not end in time"


async def run_to_the_end(engine: Engine, target: Target, *, seconds: float, on_step: OnStep | None) -> Report:
    """The engine's report; a broken one when it takes longer than `seconds` or cancels itself.

    Raises what the engine raises, and RuntimeError for what would end the loop.
    """

    async def run() -> Report:
        try:
            return await engine.run(target, on_step=on_step)
        except (SystemExit, KeyboardInterrupt) as error:
            # It would end the loop, and with it the engine's other runs.
            raise RuntimeError(f"{type(error).__name__} in the engine") from error

    task = asyncio.ensure_future(run())
    try:
        # Not wait_for, which waits on for an engine that does not let itself be cancelled.
        await asyncio.wait([task], timeout=seconds)
    finally:
        if not task.done():
            task.cancel()
    if task.done() and not task.cancelled():
        return task.result()
    words = f"the engine {engine.name} cancelled its own run" if task.done() else overdue_words(engine.name)
    return Report.broken(engine.name, target.suite, target.protocol, words, truncated=not task.done())
