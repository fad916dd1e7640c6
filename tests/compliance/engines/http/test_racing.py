"""A host with several addresses is reached by whichever answers, each of them checked first (RFC 8305)."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compliance.engines import Overall
from compliance.engines.http.racing import first_to_connect, in_turns
from compliance.engines.suites.baseline.engine import BaselineEngine
from tests.agents.odd import mcp
from tests.agents.odd.table import app
from tests.compliance.engines.servers import bound, serving, target

_ADDRESSES = st.lists(st.from_regex(r"10\.0\.0\.\d|2001:db8::\d", fullmatch=True), max_size=8, unique=True)


@given(_ADDRESSES)
def test_families_take_turns_and_keep_their_order(addresses: list[str]) -> None:
    turns = in_turns(addresses)
    assert len(turns) == min(len(addresses), 6)
    for family in (lambda each: ":" in each, lambda each: ":" not in each):
        ordered = [each for each in addresses if family(each)]
        assert [each for each in turns if family(each)] == ordered[: len([e for e in turns if family(e)])]
    if addresses:
        assert turns[0] == addresses[0]


class Connections:
    """Addresses that answer, refuse or say nothing."""

    def __init__(self, **behaviour: float | None) -> None:
        self.behaviour = behaviour  # seconds until it answers; None: it refuses
        self.tried: list[str] = []
        self.closed: list[str] = []

    async def connect(self, address: str) -> str:
        self.tried.append(address)
        seconds = self.behaviour[address]
        if seconds is None:
            raise ConnectionRefusedError(address)
        await asyncio.sleep(seconds)
        return address

    async def close(self, address: str) -> None:
        self.closed.append(address)

    async def race(self) -> str:
        winner, connection = await first_to_connect(list(self.behaviour), self.connect, self.close)
        assert winner == connection
        return winner


async def test_first_address_wins_when_it_answers_and_no_other_is_tried() -> None:
    there = Connections(a=0, b=0)
    assert await there.race() == "a"
    assert there.tried == ["a"]


async def test_refused_address_costs_no_time() -> None:
    there, started = Connections(a=None, b=None, c=0), time.monotonic()
    assert await there.race() == "c"
    assert time.monotonic() - started < 0.2


async def test_silent_address_costs_its_head_start() -> None:
    there, started = Connections(a=60, b=0), time.monotonic()
    assert await there.race() == "b"
    assert time.monotonic() - started < 2


async def test_slow_address_still_wins_when_the_others_fail() -> None:
    there = Connections(a=0.4, b=None, c=None)
    assert await there.race() == "a"


async def test_failure_of_all_is_a_failure() -> None:
    with pytest.raises(ConnectionRefusedError, match="b"):
        await Connections(a=None, b=None).race()


@pytest.mark.parametrize("ours_is", ["first", "last"])
async def test_failure_of_ours_hides_none_of_the_agents(ours_is: str) -> None:  # E1
    """A worker without IPv6 has no way to one address, and the other one refuses."""
    errors = {"::1": OSError(errno.ENETUNREACH, "unreachable"), "127.0.0.1": ConnectionRefusedError("refused")}

    async def connect(address: str) -> str:
        raise errors[address]

    async def close(connection: str) -> None:
        raise AssertionError("there is nothing to close")

    addresses = list(errors) if ours_is == "first" else list(errors)[::-1]
    with pytest.raises(ConnectionRefusedError):
        await first_to_connect(addresses, connect, close)
    with pytest.raises(OSError, match="unreachable"):
        await first_to_connect(["::1"], connect, close)


async def test_whoever_gives_up_leaves_no_attempt_behind() -> None:
    there = Connections(a=60, b=60)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.4):
            await there.race()
    assert there.tried == ["a", "b"]
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


@contextlib.contextmanager
def swallowing(port: int) -> Iterator[None]:
    """A port of ::1 that takes no more connections, and refuses none."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_INET6))
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(("::1", port))
        listener.listen(0)
        for _ in range(4):
            full = stack.enter_context(socket.socket(socket.AF_INET6))
            full.setblocking(False)
            full.connect_ex(("::1", port))
        yield


async def test_agent_whose_first_address_swallows_packets_is_tested_by_the_other() -> None:
    async def both(host: str, port: int) -> list[str]:
        return ["::1", "127.0.0.1"]

    sock = bound()
    port = sock.getsockname()[1]
    with swallowing(port):
        async with serving(app(mcp.ROWS[0].make()), sock, lifespan="off"):
            at = target(f"http://dual.example:{port}/mcp", allow=("127.0.0.0/8", "::1"))
            report = await BaselineEngine(resolve=both).run(at)

    assert report.overall() is Overall.PASSING, report.headline()
    assert report.duration_ms < 5000


async def test_no_address_is_connected_to_when_one_of_them_is_refused() -> None:  # V7
    async def both(host: str, port: int) -> list[str]:
        return ["127.0.0.1", "::1"]

    async with serving(app(mcp.ROWS[0].make()), lifespan="off") as url:
        at = target(f"http://dual.example:{url.rpartition(':')[2]}/mcp", allow=("127.0.0.0/8",))
        report = await BaselineEngine(resolve=both).run(at)

    assert report.overall() is Overall.INCONCLUSIVE
    assert "address not allowed" in report.headline()
