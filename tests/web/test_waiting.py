"""Requests that wait for work, in the real server on the real database."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.processes import wait_for
from tests.web.conftest import asked, put_work


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(timeout=60, limits=limits, trust_env=False) as client:
        yield client


async def until(condition, *, what: str) -> None:
    await asyncio.to_thread(wait_for, condition, what=what)


async def test_a_waiting_request_gets_work_as_soon_as_it_is_committed(serve, work, client) -> None:
    server = serve()
    waiting = asyncio.create_task(server.poll(client, "runner:1"))
    await until(lambda: asked(work) == 1, what="the first question")
    began = time.monotonic()
    put_work(work, "runner:1", "a")
    response = await waiting
    assert response.json()["work"] == ["a"]
    assert time.monotonic() - began < 2
    assert "assay-wait-for" not in response.headers
    assert asked(work) == 2


async def test_nothing_comes_and_the_first_answer_is_given_at_the_end(serve, work, client) -> None:
    server = serve()
    began = time.monotonic()
    response = await server.poll(client, "runner:1", wait=2)
    assert 1.9 < time.monotonic() - began < 4
    assert response.json()["work"] == []
    assert "assay-wait-for" not in response.headers
    assert int(response.headers["age"]) >= 1
    assert asked(work) == 1
