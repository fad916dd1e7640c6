"""The first of a host's addresses to answer (RFC 8305, “Happy Eyeballs”): one that swallows packets costs no run."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import chain, zip_longest
from typing import TypeVar

from compliance.engines.http.exchange import is_ours

T = TypeVar("T")

_HEAD_START = 0.25  # seconds that each address has before the next one is tried beside it
_AT_MOST = 6  # addresses of one host


def in_turns(addresses: Sequence[str]) -> list[str]:
    """The families by turns, beginning with that of the first address; each family in its order."""
    first = [each for each in addresses if (":" in each) == (":" in addresses[0])]
    other = [each for each in addresses if each not in first]
    return [each for each in chain.from_iterable(zip_longest(first, other)) if each is not None][:_AT_MOST]


async def first_to_connect(
    addresses: Sequence[str], connect: Callable[[str], Awaitable[T]], close: Callable[[T], Awaitable[None]]
) -> tuple[str, T]:
    """The address that answered first, and its connection. Every other one is closed.

    Raises when all have failed: the last failure that is not ours, or the last if all are ours.
    """
    waiting = in_turns(addresses)
    running: dict[asyncio.Future[T], str] = {}
    failure: BaseException | None = None
    try:
        while waiting or running:
            if waiting:
                address = waiting.pop(0)
                running[asyncio.ensure_future(connect(address))] = address
            timeout = _HEAD_START if waiting else None
            done, _ = await asyncio.wait(running, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            for attempt in done:
                error = attempt.exception()
                if error is None:
                    return running.pop(attempt), attempt.result()
                if failure is None or is_ours(failure) or not is_ours(error):
                    failure = error
                del running[attempt]
        raise failure or OSError("there is no address")
    finally:
        for attempt in running:
            attempt.cancel()
        for late in await asyncio.gather(*running, return_exceptions=True):
            if not isinstance(late, BaseException):
                await close(late)
