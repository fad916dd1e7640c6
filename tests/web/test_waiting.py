"""Requests that wait for work, in the real server on the real database."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import time
from contextlib import suppress

import httpx
import psutil
import psycopg
import pytest

from tests.web.conftest import DATABASE, SUPERUSER_URL, asked, holds, listeners, put_work, until

pytestmark = pytest.mark.processes

SOON = 2  # seconds, within which work must reach who waits for it


async def begin(server, client, work, *keys, **body):
    """A task that waits: started when the application has said that there is nothing."""
    before = asked(work)
    task = asyncio.create_task(server.poll(client, *keys, **body))
    await until(lambda: asked(work) == before + 1, what="the first question")
    return task


async def given(*tasks):
    """What each of these got, within the time that work may take."""
    responses = await asyncio.wait_for(asyncio.gather(*tasks), SOON)
    return [response.json()["work"] for response in responses]


async def test_a_waiting_request_gets_work_as_soon_as_it_is_committed(serve, work, client) -> None:
    server = serve()
    waiting = await begin(server, client, work, "runner:1")
    put_work(work, "runner:2", "not for us")
    put_work(work, "runner:1", "a")
    assert await given(waiting) == [["a"]]
    assert "assay-wait-for" not in waiting.result().headers
    assert asked(work) == 2


async def test_when_nothing_comes_the_first_answer_is_given_at_the_end_and_tells_its_age(serve, work, client) -> None:
    server = serve()
    began = time.monotonic()
    response = await server.poll(client, "runner:1", wait=2)
    assert 1.9 < time.monotonic() - began < 4
    assert response.json()["work"] == []
    assert "assay-wait-for" not in response.headers
    assert int(response.headers["age"]) >= 1
    assert asked(work) == 1


async def test_the_application_learns_how_old_a_request_is_that_it_is_asked_again(serve, work, client) -> None:
    server = serve()
    waiting = await begin(server, client, work, "runner:1")
    before = time.monotonic()
    await server.poll(client, "runner:2", wait=1)
    passed = time.monotonic() - before
    put_work(work, "runner:1", "a")
    assert await given(waiting) == [["a"]]
    assert passed <= waiting.result().json()["waited"] < passed + 2 * SOON
    claimed = await client.post(
        f"{server.url}/poll",
        json={"keys": ["none"]},
        headers={"Assay-Waited-Seconds": "9", "assay.waited_seconds": "9"},
    )
    assert claimed.json()["waited"] is None


async def test_nobody_waits_longer_than_the_server_allows(serve, work, client) -> None:
    server = serve(ASSAY_RUNNER_WAIT_MAX_SECONDS="1")
    response = await asyncio.wait_for(server.poll(client, "runner:1", wait=50), 5)
    assert response.json()["work"] == []


@pytest.mark.parametrize("headers", [{}, {"Prefer": "wait=0"}, {"Prefer": "respond-async"}])
async def test_who_does_not_ask_to_wait_is_answered_at_once_and_never_told_the_keys(
    serve, work, client, headers
) -> None:
    server = serve()
    call = client.post(f"{server.url}/poll", json={"keys": ["runner:1"]}, headers=headers)
    response = await asyncio.wait_for(call, SOON)
    assert response.json()["work"] == []
    assert "assay-wait-for" not in response.headers


async def test_a_request_that_is_too_long_to_keep_is_answered_at_once(serve, work, client) -> None:
    server = serve()
    response = await asyncio.wait_for(server.poll(client, "runner:1", padding="x" * 70_000), SOON)
    assert response.json()["work"] == []
    assert "assay-wait-for" not in response.headers


async def test_a_body_of_no_length_that_is_said_beforehand_is_as_good_as_any(serve, work, client) -> None:
    server = serve()

    async def chunks():
        yield b'{"keys": '
        yield b'["runner:1"]}'

    waiting = asyncio.create_task(client.post(f"{server.url}/poll", content=chunks(), headers={"Prefer": "wait=30"}))
    await until(lambda: asked(work) == 1, what="the first question")
    assert not waiting.done()
    put_work(work, "runner:1", "a")
    assert await given(waiting) == [["a"]]


async def test_work_that_is_committed_while_the_first_answer_is_being_made_is_not_missed(serve, work, client) -> None:
    server = serve()
    with psycopg.connect(SUPERUSER_URL, dbname=DATABASE, autocommit=True) as gate:
        gate.execute("SELECT pg_advisory_lock(7)")
        waiting = await begin(server, client, work, "runner:1", gate=7)
        put_work(work, "runner:1", "a")
        # Heard by the server before its answer is ready: another waiter of the same process gets what came later.
        other = await begin(server, client, work, "runner:2")
        put_work(work, "runner:2", "b")
        assert await given(other) == [["b"]]
        gate.execute("SELECT pg_advisory_unlock(7)")
        assert await given(waiting) == [["a"]]


async def test_a_notification_that_got_lost_is_made_up_for(serve, work, client) -> None:
    server = serve(ASSAY_RUNNER_WAIT_SCAN_SECONDS="1")
    waiting = await begin(server, client, work, "runner:1")
    put_work(work, "runner:1", "a", notify=False)
    assert await asyncio.wait_for(waiting, 10)
    assert waiting.result().json()["work"] == ["a"]


async def test_waiting_outlives_the_loss_of_the_database_connection(serve, work, client) -> None:
    server = serve()
    waiting = await begin(server, client, work, "runner:1")
    ended = work.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()",
        [DATABASE],
    ).fetchall()
    assert ended
    put_work(work, "runner:1", "a")
    response = await asyncio.wait_for(waiting, 15)
    assert response.json()["work"] == ["a"]
    assert listeners(work) == 1


async def test_one_notification_asks_one_waiter_of_a_pool_and_the_first_come_is_the_first_asked(
    serve, work, client
) -> None:
    server = serve()
    first = await begin(server, client, work, "pool:1", name="first")
    second = await begin(server, client, work, "pool:1", name="second")
    put_work(work, "pool:1", "a")
    assert await given(first) == [["a"]]
    put_work(work, "pool:1", "b")
    assert await given(second) == [["b"]]
    assert asked(work, "second") == 2, "the first notification was not for the second"


async def test_one_notification_for_much_work_reaches_as_many_as_it_takes(serve, work, client) -> None:
    server = serve()
    waiting = [await begin(server, client, work, "pool:1", name=f"{n}") for n in range(4)]
    put_work(work, "pool:1", "a", "b", "c")
    assert sorted(await given(*waiting[:3])) == [["a"], ["b"], ["c"]]
    assert asked(work, "3") == 1
    waiting[3].cancel()


async def test_work_that_the_first_cannot_take_is_passed_on(serve, work, client) -> None:
    server = serve()
    first = await begin(server, client, work, "pool:1", kinds=["other"], name="first")
    second = await begin(server, client, work, "runner:2", "pool:1", kinds=["special"], name="second")
    put_work(work, "pool:1", "a", kind="special")
    assert await given(second) == [["a"]]
    assert not first.done()
    put_work(work, "pool:1", "b", kind="other")
    assert await given(first) == [["b"]]


@pytest.mark.parametrize("waiters", [1, 3])
async def test_work_that_nobody_can_take_does_not_keep_the_server_busy(serve, work, client, waiters) -> None:
    server = serve()
    waiting = [await begin(server, client, work, "pool:1", name=f"{n}", wait=4) for n in range(waiters)]
    put_work(work, "pool:1", "a", kind="special")
    assert [response.json()["work"] for response in await asyncio.gather(*waiting)] == [[]] * waiters
    assert asked(work) <= 2 * waiters, "each was asked once more"


async def test_a_client_that_goes_away_frees_its_place_and_is_not_asked_for(serve, work, client) -> None:
    server = serve(ASSAY_RUNNER_WAIT_MAX_POLLS="1")
    gone = await begin(server, client, work, "pool:1")
    refused = await asyncio.wait_for(server.poll(client, "pool:1"), SOON)
    assert refused.json()["work"] == [], "there was one place, so the second was answered at once"
    await until(holds(server, 2), what="both connections")  # one waits, one is kept for the next request
    gone.cancel()
    await until(holds(server, 1), what="noticing that the client has gone")
    before = asked(work)
    put_work(work, "pool:1", "a")
    staying = await asyncio.wait_for(server.poll(client, "pool:1"), SOON)
    assert staying.json()["work"] == ["a"]
    assert asked(work) == before + 1


async def test_waiting_takes_no_thread(serve, work, client) -> None:
    server = serve(WEB_THREADS="2")
    waiting = [await begin(server, client, work, f"runner:{n}", name=f"{n}") for n in range(30)]
    response = await asyncio.wait_for(client.get(f"{server.url}/where"), SOON)
    assert response.status_code == 200
    for n in range(30):
        put_work(work, f"runner:{n}", f"{n}")
    assert await given(*waiting) == [[f"{n}"] for n in range(30)]


async def test_a_connection_serves_the_next_request_after_it_waited(serve, work) -> None:
    server = serve()
    async with httpx.AsyncClient(limits=httpx.Limits(max_connections=1), timeout=30, trust_env=False) as client:
        for number in range(3):
            waiting = await begin(server, client, work, "runner:1")
            put_work(work, "runner:1", f"{number}")
            assert await given(waiting) == [[f"{number}"]]
        assert (await client.get(f"{server.url}/where")).status_code == 200
        assert holds(server, 1)()


async def test_a_request_that_was_sent_before_the_first_was_answered_has_its_turn(serve, work) -> None:
    server = serve()
    body = json.dumps({"keys": ["runner:1"]}).encode()
    head = f"POST /poll HTTP/1.1\r\nHost: localhost\r\nPrefer: wait=30\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as raw:
        raw.sendall(head.encode() + body)
        await until(lambda: asked(work) == 1, what="the first question")
        raw.sendall(b"GET /where HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        put_work(work, "runner:1", "a")
        received = b""
        while piece := raw.recv(65536):
            received += piece
    first, second = received.split(b"HTTP/1.1 200 OK")[1:]
    assert b'"work": ["a"]' in first
    assert b'"backend"' in second


async def test_an_error_while_asking_again_is_an_answer(serve, work, client) -> None:
    server = serve()
    waiting = await begin(server, client, work, "runner:1")
    work.execute("ALTER TABLE asked RENAME TO elsewhere")
    try:
        put_work(work, "runner:1", "a")
        response = await asyncio.wait_for(waiting, SOON)
    finally:
        work.execute("ALTER TABLE elsewhere RENAME TO asked")
    assert response.status_code == 500
    assert (await client.get(f"{server.url}/where")).status_code == 200


async def test_database_connections_are_those_of_the_threads_and_stay_open(serve, work, client) -> None:
    server = serve(WEB_THREADS="2")
    for number in range(20):
        waiting = await begin(server, client, work, "runner:1", "pool:1")
        put_work(work, "pool:1", f"{number}")
        await given(waiting)
    found = {}
    for _ in range(20):
        answer = (await client.get(f"{server.url}/where")).json()
        found.setdefault(answer["thread"], set()).add(answer["backend"])
    assert all(len(backends) == 1 for backends in found.values()), "a thread keeps its connection"
    backends = work.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND application_name = 'assay'", [DATABASE]
    ).fetchone()
    assert backends is not None
    assert backends[0] <= 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=["stop", "reload"])
async def test_a_server_that_ends_answers_all_who_wait_at_once(serve, work, client, number) -> None:
    server = serve(processes=2)
    before = asked(work)
    waiting = [asyncio.create_task(server.poll(client, f"runner:{n}")) for n in range(200)]
    await until(lambda: asked(work) == before + 200, what="everybody's first question")
    await until(holds(server, 200), what="everybody's connection")
    began = time.monotonic()
    server.send(number)
    # One process ends after the other when they are replaced: there is always one that serves.
    responses = await asyncio.wait_for(asyncio.gather(*waiting), 4 if number == signal.SIGTERM else 40)
    assert all(response.json()["work"] == [] for response in responses)
    assert {response.headers["connection"] for response in responses} == {"close"}
    if number == signal.SIGTERM:
        await until(lambda: server.process.child.poll() is not None, what="the end")
        assert time.monotonic() - began < 6
        assert server.process.child.returncode == 0
    else:
        assert (await client.get(f"{server.url}/where")).status_code == 200


async def test_a_process_that_has_served_its_share_answers_all_who_wait(serve, work, client) -> None:
    server = serve(processes=2, WEB_MAX_REQUESTS="20")
    waiting = [await begin(server, client, work, f"runner:{n}", wait=50) for n in range(4)]
    first = {child.pid for child in psutil.Process(server.process.child.pid).children()}
    async with httpx.AsyncClient(timeout=60, trust_env=False) as reader:
        while not any(request.done() for request in waiting):
            with suppress(httpx.ReadError, httpx.RemoteProtocolError):  # a kept connection, closed when it was idle
                assert (await reader.get(f"{server.url}/where")).status_code == 200
        done = [request for request in waiting if request.done()]
        assert [(await request).json()["work"] for request in done] == [[] for _ in done]
        assert (await reader.get(f"{server.url}/where")).status_code == 200
    await until(
        lambda: {child.pid for child in psutil.Process(server.process.child.pid).children()} != first,
        what="the next process",
    )
    for request in waiting:
        request.cancel()


async def test_a_server_whose_database_is_away_holds_who_waits(serve, work, client) -> None:
    server = serve()
    waiting = await begin(server, client, work, "runner:1", wait=3)
    work.execute(f"ALTER DATABASE {DATABASE} CONNECTION LIMIT 0")
    try:
        work.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()",
            [DATABASE],
        )
        response = await asyncio.wait_for(waiting, 10)
    finally:
        work.execute(f"ALTER DATABASE {DATABASE} CONNECTION LIMIT -1")
    assert response.json()["work"] == []
    assert int(response.headers["age"]) >= 2
    await until(lambda: listeners(work) == 1, what="listening again")
    assert "do not hear the database" in server.process.output()
