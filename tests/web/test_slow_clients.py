"""Clients that are slow, silent or do not read: each costs a connection, and none stops the others."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any

import httpx
import pytest

from tests.processes import wait_for
from tests.web.conftest import Server, holds

pytestmark = pytest.mark.processes

OF_EACH = 125
BEGUN = {
    "silent": b"",
    "slow head": b"GET /where HTTP/1.1\r\nHost: local",
    "slow body": b"POST /poll HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000\r\n\r\n{",
    "slow body that would wait": (
        b"POST /poll HTTP/1.1\r\nHost: localhost\r\nPrefer: wait=9\r\nContent-Length: 100\r\n\r\n{"
    ),
    "slow reader": b"GET /large?megabytes=1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
}


def slow(port: int, begun: bytes) -> socket.socket:
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", port))
    client.sendall(begun)
    return client


def test_five_hundred_slow_and_silent_connections_stop_nothing(serve: Callable[..., Server]) -> None:
    server = serve(processes=2, WEB_THREADS="2")
    with ExitStack() as stack, httpx.Client(base_url=server.url, timeout=20, trust_env=False) as client:
        count = OF_EACH * len(BEGUN)
        clients = [stack.enter_context(slow(server.port, begun)) for _ in range(OF_EACH) for begun in BEGUN.values()]
        wait_for(holds(server, count), what="all connections")
        for _ in range(3):
            for number, one in enumerate(clients):
                if number % len(BEGUN) in (1, 2):  # heads and bodies that go on, a byte at a time
                    one.sendall(b"x")
            began = time.monotonic()
            for _ in range(10):
                assert client.get("/where", headers={"Connection": "close"}).status_code == 200
                answer = client.post("/upload", content=b"x" * 200_000, headers={"Connection": "close"})
                assert answer.json()["size"] == 200_000
            assert time.monotonic() - began < 10
        assert holds(server, count)(), "nobody was turned away"


IMPATIENT = """
from compliance import asgi, server
asgi.HEAD_SECONDS, asgi.BODY_SECONDS, asgi.ANSWER_SECONDS = 1, 2, 3
server.main()
"""


@pytest.mark.parametrize("kind", BEGUN)
def test_a_client_without_end_is_cut_off(serve: Callable[..., Server], kind: str) -> None:
    server = serve("-c", IMPATIENT)
    begun = BEGUN[kind].replace(b"megabytes=1 ", b"megabytes=20 ")
    with slow(server.port, begun) as client:
        wait_for(holds(server, 1), what="the connection")
        began = time.monotonic()
        while time.monotonic() - began < 15 and holds(server, 1)():
            if kind.startswith(("slow head", "slow body")):
                with suppress(OSError):
                    client.sendall(b"x")
            time.sleep(0.2)
        assert holds(server, 0)(), "it was not cut off"
        assert httpx.get(f"{server.url}/where", timeout=20).status_code == 200


def test_a_kept_connection_has_as_long_for_each_of_its_requests(serve: Callable[..., Server]) -> None:
    server = serve("-c", IMPATIENT)
    with httpx.Client(base_url=server.url, timeout=20, trust_env=False) as client:
        for _ in range(4):
            assert client.get("/where").status_code == 200
            assert holds(server, 1)(), "the connection is kept"
            time.sleep(0.6)


async def test_a_request_that_follows_at_once_has_its_own_time(serve: Callable[..., Server], work: Any) -> None:
    """Its wait is longer than a head may take: the end of the request before must not set the clock."""
    server = serve("-c", IMPATIENT)

    async def twice(number: int) -> int:
        async with httpx.AsyncClient(timeout=20, trust_env=False) as client:
            await server.poll(client, f"runner:{number}", wait=0)
            return (await server.poll(client, f"runner:{number}", wait=2)).status_code

    assert await asyncio.gather(*(twice(number) for number in range(8))) == [200] * 8
