"""The proxy of a run: who may use it, where it goes, and what becomes of heads, bodies and limits on the way."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route

from compliance.engines.http.egress import Guard
from compliance.engines.http.proxy import EgressProxy, ProxyLimits, egress_proxy
from tests.compliance.engines.http.test_egress import REFUSED
from tests.compliance.engines.servers import raw, says, serving
from tests.processes import closed_port

LIMITS = ProxyLimits(seconds=30)
LOOPBACK = ("127.0.0.1/32",)


@contextlib.asynccontextmanager
async def proxy(allow=LOOPBACK, limits: ProxyLimits = LIMITS, **guard) -> AsyncIterator[EgressProxy]:
    async with egress_proxy(Guard(allow, **guard), run_key="run-7", limits=limits) as running:
        yield running


def client(through: EgressProxy, **options) -> httpx.AsyncClient:
    return httpx.AsyncClient(proxy=through.url, trust_env=False, timeout=10, **options)


async def talk(through: EgressProxy, *parts: bytes) -> bytes:
    """Say this to the proxy as it stands, and return one whole answer, or all that comes when it closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", through.port)
    try:
        for part in parts:
            writer.write(part.replace(b"{signed}", b"Proxy-Authorization: " + through.authorization))
        answer = await reader.readuntil(b"\r\n\r\n")
        fields = answer.lower()
        if b"connection: close" in fields:
            answer += await reader.read()
        elif b"content-length: " in fields:
            answer += await reader.readexactly(int(fields.partition(b"content-length: ")[2].partition(b"\r\n")[0]))
    finally:
        writer.close()
    return answer


async def echo(request: Request) -> JSONResponse:
    body = await request.body()
    headers = [[k.decode(), v.decode()] for k, v in request.scope["headers"]]
    return JSONResponse({"method": request.method, "url": str(request.url), "headers": headers, "body": body.decode()})


ECHO = Starlette(routes=[Route("/{rest:path}", echo, methods=["GET", "POST", "PUT", "DELETE", "OPTIONS"])])


@pytest.mark.parametrize("host", REFUSED)
async def test_no_form_of_an_inner_address_is_reached(host: str) -> None:  # V7
    async with proxy(allow=()) as running:
        tunnel = await talk(running, f"CONNECT {host}:80 HTTP/1.1\r\nHost: {host}\r\n{{signed}}\r\n\r\n".encode())
        plain = await talk(
            running, f"GET http://{host}/latest HTTP/1.1\r\nHost: fine.example\r\n{{signed}}\r\n\r\n".encode()
        )

    for answer in (tunnel, plain):
        assert answer.startswith(b"HTTP/1.1 403 ")
        assert b"Proxy-Status: assay; error=destination_ip_prohibited" in answer
        assert b"address not allowed" in answer
    assert all("address not allowed" in reason for reason in running.refused)
    assert [(c.outcome, c.address, c.bytes_up) for c in running.connections] == [("refused", "", 0)] * 2


async def test_host_header_does_not_choose_the_address() -> None:  # V7
    async with serving(ECHO) as url, proxy(allow=(url.removeprefix("http://"),)) as running:
        port = url.rpartition(":")[2].encode()
        seen = await talk(
            running, b"GET http://127.0.0.1:%b/x HTTP/1.1\r\nHost: 169.254.169.254\r\n{signed}\r\n\r\n" % port
        )

    assert b'["host","127.0.0.1:%b"]' % port in seen
    assert b"169.254" not in seen


class Changing:
    """A resolver whose first answer is allowed and whose later ones are not."""

    def __init__(self) -> None:
        self.asked = 0

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked += 1
        await asyncio.sleep(0)
        return ["127.0.0.1"] if self.asked == 1 else ["169.254.169.254"]


async def test_name_is_asked_for_once_in_a_run_by_all_connections_together() -> None:  # V7
    name = Changing()
    async with serving(ECHO) as url, proxy(resolve=name) as running, client(running) as http:
        port = url.rpartition(":")[2]
        answers = await asyncio.gather(*(http.get(f"http://agent.example:{port}/{n}") for n in range(10)))
        tunnel = await talk(
            running, f"CONNECT Agent.Example.:{port} HTTP/1.1\r\nHost: x\r\n{{signed}}\r\n\r\n".encode()
        )

    assert {answer.status_code for answer in answers} == {200}
    assert tunnel.startswith(b"HTTP/1.1 200 ")
    assert name.asked == 1


async def test_later_answer_of_a_name_is_checked_in_the_next_run() -> None:  # V7
    name = Changing()
    async with serving(ECHO) as url:
        at = f"http://agent.example:{url.rpartition(':')[2]}/"
        async with proxy(resolve=name) as first, client(first) as http:
            assert (await http.get(at)).status_code == 200
        async with proxy(resolve=name) as second, client(second) as http:
            assert (await http.get(at)).status_code == 403

    assert second.refused == ["address not allowed: agent.example (link-local, where clouds keep their metadata)"]


async def test_name_with_one_inner_address_is_refused() -> None:  # V7
    async def mixed(host: str, port: int) -> list[str]:
        return ["127.0.0.1", "10.0.0.1"]

    async with proxy(resolve=mixed) as running, client(running) as http:
        assert (await http.get("http://agent.example/")).status_code == 403


@pytest.mark.parametrize(
    "signed", ["", "Proxy-Authorization: Basic cnVuOmd1ZXNz", "Proxy-Authorization: Bearer x", "twice"]
)
@pytest.mark.parametrize(
    "start", ["GET http://127.0.0.1:{port}/ HTTP/1.1", "CONNECT 127.0.0.1:{port} HTTP/1.1", "GET / HTTP/1.1"]
)
async def test_whoever_does_not_know_the_runs_password_is_turned_away(start: str, signed: str) -> None:
    asked = []

    async def app(scope, receive, send) -> None:
        asked.append(scope)

    async with serving(app) as url, proxy() as running:
        right = f"Proxy-Authorization: {running.authorization.decode()}"
        given = f"{right}\r\n{right}" if signed == "twice" else signed or "X: y"
        line = start.format(port=url.rpartition(":")[2])
        answer = await talk(running, f"{line}\r\nHost: x\r\n{given}\r\n\r\n".encode())

    assert answer.startswith(b"HTTP/1.1 407 ")
    assert b'Proxy-Authenticate: Basic realm="run"' in answer
    assert [c.outcome for c in running.connections] == ["unauthorized"]
    assert all(scope["type"] == "lifespan" for scope in asked)


async def test_password_of_another_run_is_not_enough() -> None:
    async with proxy() as one, proxy() as other:
        answer = await talk(
            other, b"GET http://127.0.0.1:9/ HTTP/1.1\r\nHost: x\r\nProxy-Authorization: %b\r\n\r\n" % one.authorization
        )

    assert answer.startswith(b"HTTP/1.1 407 ")


async def test_port_is_closed_after_the_run() -> None:
    async with proxy() as running:
        pass
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", running.port)


async def test_run_that_ends_cuts_what_is_still_open() -> None:
    async def hang(reader, writer) -> None:
        await reader.read()

    async with raw(hang) as url:
        async with proxy() as running:
            port = url.rsplit(":", 1)[1].removesuffix("/mcp")
            reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
            writer.write(
                b"CONNECT 127.0.0.1:%b HTTP/1.1\r\nHost: x\r\nProxy-Authorization: %b\r\n\r\nGET"
                % (port.encode(), running.authorization)
            )
            await reader.readuntil(b"\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()

    assert [c.outcome for c in running.connections] == ["stopped"]


async def test_requests_and_answers_go_through_as_they_are() -> None:
    async with serving(ECHO) as url, proxy() as running, client(running) as http:
        posted = await http.post(
            f"{url}/a%20b?q=1", content=b"body", headers={"X-Own": "kept", "Authorization": "Bearer t"}
        )
        chunked = await http.put(f"{url}/c", content=_pieces())
        head = await http.head(f"{url}/")

    seen = posted.json()
    assert (seen["method"], seen["url"], seen["body"]) == ("POST", f"{url}/a b?q=1", "body")
    assert {"x-own": "kept", "authorization": "Bearer t", "content-length": "4"}.items() <= dict(
        seen["headers"]
    ).items()
    assert chunked.json()["body"] == "onetwo"
    assert (head.status_code, head.content) == (200, b"")
    assert [c.outcome for c in running.connections] == ["ok"] * 3
    assert all(c.bytes_up and c.bytes_down and c.address == "127.0.0.1" for c in running.connections)


async def _pieces() -> AsyncIterator[bytes]:
    yield b"one"
    yield b"two"


async def test_headers_between_neighbours_end_at_the_proxy() -> None:
    async with serving(ECHO) as url, proxy() as running:
        request = (
            f"GET {url}/ HTTP/1.1\r\nHost: x\r\n{{signed}}\r\nProxy-Connection: keep-alive\r\n"
            "Connection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\n"
            "Upgrade: h2c\r\nX-End: kept\r\n\r\n"
        )
        answer = await talk(running, request.encode())
    body = answer.partition(b"\r\n\r\n")[2].decode()

    assert '["x-end","kept"]' in body
    for name in ("proxy-authorization", "proxy-connection", "x-hop", "keep-alive", "te", "upgrade"):
        assert f'["{name}"' not in body


async def test_connection_of_the_program_is_used_again() -> None:
    async with serving(ECHO) as url, proxy() as running:
        request = f"GET {url}/ HTTP/1.1\r\nHost: x\r\n{{signed}}\r\n\r\n".encode()
        last = request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        for part in (request, last):
            writer.write(part.replace(b"{signed}", b"Proxy-Authorization: " + running.authorization))
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ")
            length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if b"content-length" in line)
            await reader.readexactly(length)
        assert await reader.read() == b""
        writer.close()

    assert [c.outcome for c in running.connections] == ["ok", "ok"]


async def test_event_stream_arrives_event_by_event() -> None:
    go_on = asyncio.Event()

    async def events(request: Request) -> StreamingResponse:
        async def flow() -> AsyncIterator[bytes]:
            yield b"data: 1\n\n"
            await go_on.wait()
            yield b"data: 2\n\n"

        return StreamingResponse(flow(), media_type="text/event-stream")

    app = Starlette(routes=[Route("/", events)])
    async with (
        serving(app) as url,
        proxy() as running,
        client(running) as http,
        http.stream("GET", f"{url}/") as response,
    ):
        parts = response.aiter_raw()
        assert await anext(parts) == b"data: 1\n\n"
        go_on.set()
        assert await anext(parts) == b"data: 2\n\n"


async def test_program_that_leaves_ends_the_agents_stream() -> None:
    left = asyncio.Event()

    async def app(scope, receive, send) -> None:
        if scope["type"] != "http":
            return
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass
        left.set()

    async with serving(app) as url, proxy() as running:
        async with client(running) as http, http.stream("GET", f"{url}/") as response:
            assert await anext(response.aiter_raw()) == b"data: 1\n\n"
        async with asyncio.timeout(5):
            await left.wait()

    assert [c.outcome for c in running.connections] == ["stopped"]


async def test_program_that_waits_for_leave_to_send_its_body_gets_it() -> None:
    async with serving(ECHO) as url, proxy() as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(f"POST {url}/ HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n".encode())
        writer.write(b"Proxy-Authorization: %b\r\n\r\n" % running.authorization)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
        writer.write(b"hi")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        writer.close()


SMUGGLED = b"GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
        b"Content-Length: 4\r\nContent-Length: 9\r\n\r\nbody",
        b"Content-Length: 4, 9\r\n\r\nbody",
        b"Content-Length: +4\r\n\r\nbody",
        b"Content-Length: -1\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
    ],
)
async def test_request_whose_length_can_be_read_in_two_ways_is_refused(framing: bytes) -> None:
    async with serving(ECHO) as url, proxy() as running:
        answer = await talk(running, f"POST {url}/ HTTP/1.1\r\nHost: x\r\n{{signed}}\r\n".encode() + framing + SMUGGLED)

    assert answer.split(b" ", 2)[1] in (b"400", b"501")
    assert answer.count(b"HTTP/1.1 ") == 1
    assert [c.outcome for c in running.connections] == ["malformed"]


@pytest.mark.parametrize(
    "start",
    [
        b"GET /latest HTTP/1.1",
        b"GET https://127.0.0.1/ HTTP/1.1",
        b"GET ftp://127.0.0.1/ HTTP/1.1",
        b"GET http://allowed.example@127.0.0.1/ HTTP/1.1",
        b"GET http://127.0.0.1\\@allowed.example/ HTTP/1.1",
        b"GET http://127.0.0.1:0/ HTTP/1.1",
        b"GET http://127.0.0.1:65536/ HTTP/1.1",
        b"GET http://[fe80::1%25lo]/ HTTP/1.1",
        b"GET http:///etc/passwd HTTP/1.1",
        b"CONNECT 127.0.0.1 HTTP/1.1",
        b"CONNECT http://127.0.0.1:80/ HTTP/1.1",
        b"CONNECT 127.0.0.1:80:81 HTTP/1.1",
        b"CONNECT user@127.0.0.1:80 HTTP/1.1",
        b"nonsense",
    ],
)
async def test_request_that_is_not_clearly_one_to_a_proxy_is_refused(start: bytes) -> None:  # V7
    async with proxy() as running:
        answer = await talk(running, start + b"\r\nHost: x\r\n{signed}\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert [c.outcome for c in running.connections] == ["malformed"]


async def test_agent_that_cannot_be_reached_is_a_bad_gateway() -> None:
    async def unknown(host: str, port: int) -> list[str]:
        raise OSError("no such name")

    async with proxy(resolve=unknown) as running, client(running) as http:
        with closed_port() as port:
            closed = await http.get(f"http://127.0.0.1:{port}/")
        nameless = await http.get("http://agent.example/")

    assert (closed.status_code, nameless.status_code) == (502, 502)
    assert "refused" in closed.text
    assert "could not be resolved" in nameless.text
    assert [c.outcome for c in running.connections] == ["unreachable", "unreachable"]
    assert running.refused == []


@pytest.mark.parametrize(
    "answer", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello"]
)
async def test_answer_that_is_no_http_is_a_bad_gateway(answer: bytes) -> None:
    async with raw(says(answer)) as url, proxy() as running, client(running) as http:
        got = await http.get(url)

    assert got.status_code == 502
    assert [c.outcome for c in running.connections] == ["broken"]


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ],
)
async def test_cut_answer_does_not_look_complete(answer: bytes) -> None:
    async with raw(says(answer)) as url, proxy() as running, client(running) as http:
        with pytest.raises(httpx.TransportError):
            await http.get(url)

    assert [c.outcome for c in running.connections] == ["broken"]


async def test_answer_with_a_length_besides_its_chunks_has_one_length() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    async with raw(says(answer)) as url, proxy() as running, client(running) as http:
        got = await http.get(url)

    assert got.content == b"hello"
    assert "content-length" not in got.headers


async def test_answer_that_ends_with_its_connection_arrives_whole() -> None:
    async with raw(says(b"HTTP/1.0 200 OK\r\n\r\nall of it")) as url, proxy() as running, client(running) as http:
        assert (await http.get(url)).content == b"all of it"


async def test_redirect_is_followed_through_the_proxy_again() -> None:  # V7
    async def away(request: Request) -> PlainTextResponse:
        return PlainTextResponse("", 302, {"location": "http://169.254.169.254/latest/meta-data"})

    app = Starlette(routes=[Route("/", away)])
    async with serving(app) as url, proxy() as running, client(running, follow_redirects=True) as http:
        got = await http.get(f"{url}/")

    assert got.status_code == 403
    assert running.refusals.keys() == {("169.254.169.254", 80)}


async def _endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        writer.write(b"x" * 65536)
        await writer.drain()


@pytest.mark.parametrize("way", ["tunnel", "plain"])
async def test_bytes_of_a_run_are_limited(way: str) -> None:
    limits = ProxyLimits(seconds=30, bytes=1_000_000)
    async with raw(_endless) as url, proxy(limits=limits) as running:
        place = url.removeprefix("http://").removesuffix("/mcp")
        start = f"CONNECT {place} HTTP/1.1" if way == "tunnel" else f"GET {url} HTTP/1.1"
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(f"{start}\r\nHost: x\r\nProxy-Authorization: {running.authorization.decode()}\r\n\r\n".encode())
        if way == "tunnel":
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        got = 0
        with contextlib.suppress(ConnectionResetError):
            while part := await reader.read(65536):
                got += len(part)
        writer.close()
        after = await talk(running, b"GET http://127.0.0.1:9/ HTTP/1.1\r\nHost: x\r\n{signed}\r\n\r\n")

    assert got < 1_200_000
    assert after.startswith(b"HTTP/1.1 503 ")
    assert [c.outcome for c in running.connections] == ["limit", "limit"]
    assert running.exhausted == "more than 1000000 bytes"


async def test_connections_of_a_run_are_limited() -> None:
    limits = ProxyLimits(seconds=30, connections=2)
    async with serving(ECHO) as url, proxy(limits=limits) as running, client(running) as http:
        statuses = [(await http.get(f"{url}/")).status_code for _ in range(4)]

    assert statuses == [200, 200, 503, 503]
    assert running.exhausted == "more than 2 connections"


async def test_connections_at_the_same_time_are_limited() -> None:
    async with proxy(limits=ProxyLimits(seconds=30, at_once=1)) as running:
        _, first = await asyncio.open_connection("127.0.0.1", running.port)
        first.write(b"GET ")
        second_reader, second = await asyncio.open_connection("127.0.0.1", running.port)
        with contextlib.suppress(ConnectionResetError):
            assert await second_reader.read() == b""
        first.close()
        second.close()

    assert [c.outcome for c in running.connections] == ["limit"]


async def test_time_of_a_run_is_limited() -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with raw(hang) as url, proxy(limits=ProxyLimits(seconds=1)) as running:
        request = f"GET {url} HTTP/1.1\r\nHost: x\r\n{{signed}}\r\n\r\n".encode()
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            await talk(running, request)
        assert (await talk(running, request)).startswith(b"HTTP/1.1 503 ")

    assert [c.outcome for c in running.connections] == ["stopped", "limit"]


async def test_address_that_does_not_answer_takes_its_time_only() -> None:
    async def never(host: str, port: int) -> list[str]:
        await asyncio.Event().wait()
        return []

    limits = ProxyLimits(seconds=30, connect_seconds=0.2)
    async with proxy(limits=limits, resolve=never) as running, client(running) as http:
        assert (await http.get("http://agent.example/")).status_code == 502


async def test_each_connection_is_logged_without_what_was_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="assay.egress"):
        async with serving(ECHO) as url, proxy() as running, client(running) as http:
            await http.post(
                f"{url}/secret-path?key=secret-query", content=b"secret-body", headers={"X-Key": "secret-key"}
            )
            await http.get("http://10.0.0.1/secret-path")
            password = running.password

    lines = [record.getMessage() for record in caplog.records if record.name == "assay.egress"]
    port = url.rpartition(":")[2]
    assert lines[0].startswith(f"run=run-7 host=127.0.0.1 port={port} address=127.0.0.1 up=")
    assert lines[0].endswith(" outcome=ok")
    assert lines[1].startswith("run=run-7 host=10.0.0.1 port=80 address=- up=0 down=0 seconds=")
    assert lines[1].endswith(" outcome=refused")
    basic = base64.b64encode(f"run:{password}".encode()).decode()
    assert not any(word in line for line in lines for word in ("secret", password, basic))
