"""What a web server must do for everybody else, with the waiting room in it."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import socket
from contextlib import ExitStack

import psutil
import pytest

from tests.web.conftest import asked, holds, until

pytestmark = pytest.mark.processes


def talk(port: int, *sent: bytes) -> bytes:
    """Everything that the server says on one connection until it closes it."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as raw:
        for piece in sent:
            raw.sendall(piece)
        received = b""
        while piece := raw.recv(65536):
            received += piece
        return received


async def test_large_uploads_arrive_whole_and_a_cut_one_harms_nobody(serve, client) -> None:
    server = serve()
    content = os.urandom(3_000_000)
    response = await client.post(f"{server.url}/upload", content=content)
    assert response.json() == {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    for wait in (b"", b"Prefer: wait=30\r\n"):
        with socket.create_connection(("127.0.0.1", server.port)) as raw:
            raw.sendall(b"POST /poll HTTP/1.1\r\nHost: localhost\r\n" + wait + b"Content-Length: 500\r\n\r\n{")
    assert (await client.get(f"{server.url}/where")).status_code == 200
    await until(holds(server, 1), what="closing what was cut")


async def test_an_upload_that_expects_to_be_asked_for_is_asked_for(serve, work) -> None:
    server = serve()
    head = b"POST /poll HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nExpect: 100-continue\r\nPrefer: wait=1\r\n"
    said = await asyncio.to_thread(talk, server.port, head + b"Content-Length: 18\r\n\r\n", b'{"keys": ["none"]}')
    assert said.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")
    assert b"connection: close" in said.lower()
    assert asked(work) == 1


async def test_answers_are_streamed_piece_by_piece(serve, client) -> None:
    server = serve()
    async with client.stream("GET", f"{server.url}/streamed?lines=20000") as response:
        assert response.headers["transfer-encoding"] == "chunked"
        text = "".join([piece async for piece in response.aiter_text()])
    assert text.splitlines() == [f"{number},line" for number in range(20000)]


async def test_head_has_the_headers_and_no_body(serve, client) -> None:
    server = serve()
    response = await client.head(f"{server.url}/healthz")
    assert response.status_code == 200
    assert response.content == b""
    assert (await client.get(f"{server.url}/healthz")).text == "ok\n"


async def test_a_broken_view_is_an_error_page_and_the_server_goes_on(serve, client) -> None:
    server = serve()
    for headers in ({}, {"Prefer": "wait=30"}):
        response = await client.get(f"{server.url}/broken", headers=headers)
        assert response.status_code == 500
        assert "<title>" in response.text
    assert (await client.get(f"{server.url}/missing")).status_code == 404


async def test_connections_are_kept_unless_the_client_wants_them_closed(serve, client) -> None:
    server = serve()
    for _ in range(3):
        kept = await client.get(f"{server.url}/healthz")
        assert "close" not in kept.headers.get("connection", "")
        assert holds(server, 1)(), "the next request comes by the same connection"
    said = await asyncio.to_thread(
        talk, server.port, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    assert b"ok\n" in said
    assert b"connection: close" in said.lower()


@pytest.mark.parametrize(
    ("job", "status"),
    [
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"x" * 9000 + b"\r\n\r\n", b"431"),
        (b"GET /" + b"x" * 5000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", b"414"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nbad header: 1\r\n\r\n", b"400"),
    ],
    ids=["long header", "long address", "bad header"],
)
async def test_requests_that_are_too_long_or_malformed_are_refused(serve, job, status) -> None:
    server = serve()
    said = await asyncio.to_thread(talk, server.port, job)
    assert said.split(b" ", 2)[1] == status


async def test_a_header_with_underscores_does_not_pass_for_one_with_hyphens(serve, work) -> None:
    server = serve(BEHIND_PROXY="true", SITE_URL="https://localhost", SECURE_SSL_REDIRECT="true")
    get = b"GET /where HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    direct = await asyncio.to_thread(talk, server.port, get + b"X_Forwarded_Proto: https\r\n\r\n")
    assert direct.split(b" ", 2)[1] == b"301"
    proxied = await asyncio.to_thread(talk, server.port, get + b"X-Forwarded-Proto: https\r\n\r\n")
    assert proxied.split(b" ", 2)[1] == b"200"


async def test_a_process_that_dies_is_replaced(serve, client) -> None:
    server = serve(processes=2)
    first = (await client.get(f"{server.url}/where")).json()["process"]
    psutil.Process(first).send_signal(signal.SIGKILL)

    def replaced() -> bool:
        # Python's own helper of several processes is a third child.
        serving = [child.pid for child in psutil.Process(server.process.child.pid).children()]
        return first not in serving and len(serving) == 3

    await until(replaced, what="another process")
    assert (await client.get(f"{server.url}/where")).status_code == 200


@pytest.mark.parametrize(
    "begun",
    [
        b"GET /healthz HTTP/1.1\r\nHost: local",
        b"POST /poll HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{",
        b"POST /poll HTTP/1.1\r\nHost: localhost\r\nPrefer: wait=9\r\nContent-Length: 100\r\n\r\n{",
    ],
)
async def test_clients_that_are_cut_off_in_the_midst_of_a_request_do_not_keep_their_threads(
    serve, client, begun
) -> None:
    server = serve()
    with ExitStack() as stack:
        for _ in range(8):  # twice as many as there are threads
            cut_off = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            cut_off.sendall(begun)
        assert (await asyncio.wait_for(client.get(f"{server.url}/healthz"), 20)).status_code == 200
