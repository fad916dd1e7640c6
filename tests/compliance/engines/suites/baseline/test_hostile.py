"""Agents that misbehave get a proper report, within their time and size (R7)."""

from __future__ import annotations

import asyncio
import datetime as dt
import errno
import gzip
import itertools
import json
import socket
import ssl
import time

import httpcore2
import pytest
import trustme
from starlette.responses import JSONResponse, Response, StreamingResponse

from compliance.engines import Limits, Overall, Report
from compliance.engines.suites.baseline.engine import BaselineEngine
from tests.compliance.engines.servers import (
    QUICK,
    answer,
    check,
    head,
    raw,
    says,
    scripted,
    serving,
    step,
    target,
    tool,
)

REACH = "connectivity/reach"


def assert_judged(report: Report, overall: Overall = Overall.FAILING) -> None:
    assert (report.overall(), report.harness_error, report.truncated) == (overall, "", False)


def assert_obstructed(report: Report, words: str) -> None:
    """Nothing is held against the agent, and the run says what stood in the way (E1)."""
    assert (report.overall(), report.counts()["failed"]) == (Overall.INCONCLUSIVE, 0)
    assert words in report.headline()
    assert [notice.code for notice in report.notices if words in notice.message] == ["obstructed"]


async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


# Connecting and answering


async def test_nothing_listening_is_failing() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        report = await check(f"http://127.0.0.1:{sock.getsockname()[1]}/mcp")

    assert_judged(report)
    assert step(report, REACH, "reachable").actual.startswith("Connection refused: nothing listens there (127.0.0.1")
    assert "Connection refused" in report.headline()


async def test_name_that_does_not_resolve_is_inconclusive() -> None:  # E1
    async def nothing(host: str, port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    report = await BaselineEngine(resolve=nothing).run(target("http://agent.invalid/mcp"))

    assert_obstructed(report, "does not resolve")
    assert step(report, REACH, "reachable").verdict == "not_tested"


async def test_hang_while_connecting_is_failing_after_the_time_for_one_step() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        crowd = [socket.socket() for _ in range(3)]
        for one in crowd:  # fills the queue of connections that nobody accepts
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        started = time.perf_counter()
        report = await check(f"http://127.0.0.1:{full.getsockname()[1]}/mcp", limits=QUICK)
        for one in crowd:
            one.close()

    assert_judged(report)
    assert step(report, REACH, "reachable").actual == "No answer within 0.4 s"
    assert time.perf_counter() - started < 2


async def test_hang_before_the_headers_is_failing() -> None:
    async with raw(hang) as url:
        report = await check(url, limits=QUICK)

    assert_judged(report)
    assert step(report, REACH, "reachable").actual == "No answer within 0.4 s"
    assert step(report, "mcp/lifecycle", "ping").verdict == "skipped"


async def test_hang_in_the_body_is_failing() -> None:
    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head(content_type="application/json", content_length="100") + b'{"json')
        await reader.read()

    async with raw(half) as url:
        report = await check(url, limits=QUICK)

    assert_judged(report)
    assert step(report, REACH, "reachable").actual == "No complete answer within 0.4 s"


async def test_answer_that_drips_byte_by_byte_is_bounded_as_a_whole() -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head(content_type="application/json", content_length="100000"))
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.02)

    async with raw(drip) as url:
        started = time.perf_counter()
        report = await check(url, limits=QUICK)

    assert_judged(report)
    assert time.perf_counter() - started < 2


@pytest.mark.parametrize("event", [b": keep-alive\n\n", b'data: {"jsonrpc":"2.0","method":"notifications/x"}\n\n'])
async def test_event_stream_without_end_is_failing(event: bytes) -> None:
    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head(content_type="text/event-stream"))
        while True:
            writer.write(event)
            await writer.drain()
            await asyncio.sleep(0.01)

    async with raw(endless) as url:
        started = time.perf_counter()
        report = await check(url, limits=QUICK)

    assert_judged(report)
    assert "within 0.4 s" in step(report, REACH, "reachable").actual
    assert time.perf_counter() - started < 3


async def test_event_stream_that_asks_to_come_back_in_an_hour_does_not_hold_the_run() -> None:
    event = b"id: 1\nretry: 3600000\ndata:\n\n"
    async with raw(says(head(content_type="text/event-stream", connection="close") + event)) as url:
        started = time.perf_counter()
        report = await check(url, limits=QUICK)

    assert_judged(report)
    assert time.perf_counter() - started < 3


async def test_gigabyte_is_cut_at_the_limit() -> None:
    sent = 0

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(head(content_type="application/json", content_length=str(1 << 30)))
        while sent < 1 << 30:
            writer.write(b"[" * 65536)
            await writer.drain()
            sent += 65536

    async with raw(flood) as url:
        report = await check(url, limits=Limits(step_seconds=5))

    assert_obstructed(report, "the answer is larger than 8,388,608 bytes")
    assert sent < 64 << 20


async def test_compressed_bomb_is_cut_at_the_limit() -> None:
    bomb = gzip.compress(b" " * (64 << 20))
    body = head(content_type="application/json", content_encoding="gzip", content_length=str(len(bomb))) + bomb
    async with raw(says(body)) as url:
        report = await check(url, limits=Limits(step_seconds=5))

    assert_obstructed(report, "larger than")


async def test_gzip_that_was_not_asked_for_is_read() -> None:
    def initialize(message):
        result = {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "z", "version": "1"}}
        body = gzip.compress(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}).encode())
        return Response(body, headers={"content-encoding": "gzip"}, media_type="application/json")

    async with serving(scripted(initialize=initialize)) as url:
        report = await check(f"{url}/mcp")

    assert_judged(report, Overall.PASSING)


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (b"", "without a valid HTTP answer"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "without a valid HTTP answer"),
        (head(content_type="application/json", content_length="100") + b"{", "in the middle of the answer"),
        (head(content_type="application/json", transfer_encoding="chunked") + b"zz\r\n", "in the middle of the answer"),
        (answer(b"oops", "text/plain", "500 Internal Server Error"), "HTTP 500: a server error"),
        (answer(b"{}", status="503 Service Unavailable"), "HTTP 503: a server error"),
        (answer(b"x" * 10, "text/html")[:0] + b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 30000, "valid HTTP answer"),
    ],
)
async def test_broken_http_is_failing(reply: bytes, words: str) -> None:
    async with raw(says(reply)) as url:
        report = await check(url)

    assert_judged(report)
    assert words in step(report, REACH, "reachable").actual


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (answer(b"<html>"), "not valid JSON"),
        (answer(b'{"jsonrpc":"2.0","id":0,"result":"\xff\xfe"}'), "not valid UTF-8"),
        (answer(b"[" * 100_000 + b"]" * 100_000), "nested too deeply"),
        (answer(b"[1, 2]"), "not a JSON-RPC 2.0 answer"),
        (answer(b""), "an empty body"),
        (answer(b'{"jsonrpc":"2.0","id":0,"result":{}}', "text/html"), "content type is text/html"),
        (answer(b"hello", "text/plain"), "content type is text/plain"),
        (answer(b"data: {nonsense\n\n", "text/event-stream"), "an event that is not valid JSON"),
        (answer(b"data: \n\n", "text/event-stream"), "ended without an answer"),
        (answer(b"<h1>Not found</h1>", "text/html", "404 Not Found"), "status 404"),
        (answer(b"", "application/json", "202 Accepted"), "status 202 with an empty body"),
    ],
)
async def test_answer_that_is_no_json_rpc_is_failing(reply: bytes, words: str) -> None:
    async with raw(says(reply)) as url:
        report = await check(url)

    assert_judged(report)
    assert step(report, REACH, "reachable").verdict == "passed"
    assert words in step(report, REACH, "speaks").actual


async def test_redirect_loop_is_reported_as_one() -> None:
    async def loop(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head("307 Temporary Redirect", location="/mcp", content_length="0"))

    async with raw(loop) as url:
        report = await check(url)

    assert_judged(report)
    assert step(report, REACH, "reachable").actual == "The agent redirects in a loop"


async def test_more_redirects_than_allowed_are_reported() -> None:
    count = 0

    async def onward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        count += 1
        writer.write(head("308 Permanent Redirect", location=f"/{count}", content_length="0"))

    async with raw(onward) as url:
        report = await check(url)

    assert step(report, REACH, "reachable").actual == "The agent redirects more than 3 times"
    assert count == 4


async def test_redirect_within_the_host_is_followed() -> None:
    app = scripted()

    async def slash(scope, receive, send):
        if scope["type"] == "http" and scope["path"] == "/mcp/":
            await Response(status_code=307, headers={"location": "/mcp"})(scope, receive, send)
        else:
            await app(scope, receive, send)

    async with serving(slash) as url:
        assert_judged(await check(f"{url}/mcp/"), Overall.PASSING)


# Certificates

CA = trustme.CA()
TRUSTING = ssl.create_default_context()
CA.configure_trust(TRUSTING)


def _serving(cert: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    cert.configure_cert(context)
    return context


async def _over_tls(cert: trustme.LeafCert, trust: ssl.SSLContext = TRUSTING) -> Report:
    async with raw(says(answer(b"<html>")), tls=_serving(cert)) as url:
        return await BaselineEngine(ssl_context=trust).run(target(url.replace("127.0.0.1", "localhost")))


async def test_valid_certificate_passes() -> None:
    report = await _over_tls(CA.issue_cert("localhost"))

    assert step(report, REACH, "tls").verdict == "passed"
    assert step(report, REACH, "reachable").verdict == "passed"
    assert report.observations["certificate_days"] > 14


async def test_certificate_about_to_expire_is_a_notice() -> None:
    soon = dt.datetime.now(dt.UTC) + dt.timedelta(days=3)
    report = await _over_tls(CA.issue_cert("localhost", not_after=soon))

    assert step(report, REACH, "tls").verdict == "passed"
    assert "certificate" in {notice.code for notice in report.notices}


@pytest.mark.parametrize(
    ("cert", "trust", "words"),
    [
        (lambda: trustme.CA().issue_cert("localhost"), TRUSTING, "certificate"),
        (lambda: CA.issue_cert("elsewhere.example"), TRUSTING, "mismatch"),
        (
            lambda: CA.issue_cert(
                "localhost",
                not_before=dt.datetime(2020, 1, 1, tzinfo=dt.UTC),
                not_after=dt.datetime(2021, 1, 1, tzinfo=dt.UTC),
            ),
            TRUSTING,
            "expired",
        ),
    ],
    ids=["unknown authority", "wrong host", "expired"],
)
async def test_bad_certificate_is_failing(cert, trust: ssl.SSLContext, words: str) -> None:
    report = await _over_tls(cert(), trust)

    assert_judged(report)
    assert step(report, REACH, "tls").verdict == "failed"
    assert words in step(report, REACH, "tls").actual
    assert f"failed: {step(report, REACH, 'tls').actual}" in report.headline()
    assert step(report, REACH, "tls").actual.startswith("TLS: ")


async def test_plain_http_behind_an_https_address_is_failing() -> None:
    async with serving(scripted()) as url:
        report = await check(url.replace("http:", "https:"))

    assert_judged(report)
    assert step(report, REACH, "tls").actual.startswith("TLS: ")


async def test_handshake_that_nobody_answers_is_failing() -> None:
    async with raw(hang) as url:
        report = await check(url.replace("http:", "https:"), limits=QUICK)

    assert_judged(report)
    assert step(report, REACH, "tls").actual == "TLS: the handshake was not completed"


# In the middle of a session


async def test_step_that_hangs_fails_alone_and_the_rest_is_still_judged() -> None:
    async def never(message):
        await asyncio.sleep(30)

    async with serving(scripted(tools_list=never)) as url:
        report = await check(f"{url}/mcp", limits=QUICK)

    assert_judged(report, Overall.PARTIAL)
    assert step(report, "mcp/listings", "tools").actual == "No answer within 0.4 s"
    assert step(report, "mcp/errors", "unknown_method").verdict == "passed"


async def test_answer_to_another_request_is_failing() -> None:
    def mixed_up(message):
        return JSONResponse({"jsonrpc": "2.0", "id": 424242, "result": {}})

    async with serving(scripted(ping=mixed_up)) as url:
        report = await check(f"{url}/mcp", limits=QUICK)

    assert step(report, "mcp/lifecycle", "ping").verdict == "failed"
    assert "does not belong to the request" in step(report, "mcp/lifecycle", "ping").actual


async def test_stream_that_breaks_off_in_a_later_step_fails_that_step() -> None:
    async def pieces():
        yield b'data: {"jsonrpc":"2.0",'

    def broken(message):
        return StreamingResponse(pieces(), media_type="text/event-stream")

    async with serving(scripted(tools_list=broken)) as url:
        report = await check(f"{url}/mcp")

    assert step(report, "mcp/listings", "tools").verdict == "failed"
    assert step(report, "mcp/errors", "unknown_method").verdict == "passed"


async def test_deadline_of_the_whole_run_makes_it_truncated_and_inconclusive() -> None:  # R7
    async def slowly(message):
        await asyncio.sleep(0.2)
        return {}

    async def never(message):
        await asyncio.sleep(30)

    async with serving(scripted(ping=slowly, tools_list=never)) as url:
        report = await check(f"{url}/mcp", deadline=0.6, limits=Limits(step_seconds=10))

    assert report.truncated
    assert report.overall() is Overall.INCONCLUSIVE
    assert step(report, "mcp/lifecycle", "ping").verdict == "passed"
    assert step(report, "mcp/listings", "tools").verdict == "not_tested"
    assert step(report, "mcp/errors", "unknown_tool").verdict == "not_tested"
    assert report.duration_ms < 2000


async def test_no_time_at_all_is_truncated() -> None:  # R7
    async with serving(scripted()) as url:
        report = await check(f"{url}/mcp", deadline=0.0)

    assert report.truncated
    assert report.counts()["failed"] == 0


async def test_bug_of_ours_is_a_harness_error_and_never_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:  # R7
    async def broken(run):
        raise KeyError("a bug")

    monkeypatch.setitem(BaselineEngine.run.__globals__["_CONVERSATIONS"], "mcp", broken)
    report = await check("http://127.0.0.1:9/mcp")

    assert report.overall() is Overall.INCONCLUSIVE
    assert report.harness_error == "KeyError in the baseline engine"
    assert report.counts()["failed"] == 0
    assert report.counts()["not_tested"] > 0


# Sizes


async def test_thousands_of_tools_are_judged_up_to_the_limit() -> None:
    tools = [tool(f"tool_{n}") for n in range(5000)]
    async with serving(scripted(tools_list={"tools": tools})) as url:
        report = await check(f"{url}/mcp", limits=Limits(step_seconds=5, items=100))

    assert_judged(report, Overall.PASSING)
    assert report.observations["tools"] == 5000
    assert "4,900 more tools" in step(report, "mcp/schemas", "more").actual
    assert step(report, "mcp/schemas", "tool/tool_99").verdict == "passed"


async def test_pages_without_end_are_stopped() -> None:
    pages = iter(range(10**6))

    def more(message):
        return {"tools": [], "nextCursor": f"c{next(pages)}"}

    async with serving(scripted(tools_list=more)) as url:
        report = await check(f"{url}/mcp")

    assert step(report, "mcp/listings", "tools").actual == "Stopped after 20 pages with 0 tools"


async def test_cursor_that_repeats_is_failing() -> None:
    async with serving(scripted(tools_list={"tools": [], "nextCursor": "again"})) as url:
        report = await check(f"{url}/mcp")

    assert "same cursor twice" in step(report, "mcp/listings", "tools").actual


def _deep(levels: int) -> dict:
    schema: dict = {"type": "object"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {f"p{n}": {"type": "string"} for n in range(30_000)}},
        _deep(45),
        {"type": "object", "anyOf": [{"enum": list(range(40_000))}]},
    ],
    ids=["wide", "deep", "long"],
)
async def test_huge_schema_is_left_out_in_bounded_time(schema: dict) -> None:
    async with serving(scripted(tools_list={"tools": [tool("huge", inputSchema=schema), tool("small")]})) as url:
        started = time.perf_counter()
        report = await check(f"{url}/mcp", limits=Limits(step_seconds=5))

    assert time.perf_counter() - started < 5
    assert step(report, "mcp/schemas", "tool/huge").verdict == "skipped"
    assert step(report, "mcp/schemas", "tool/small").verdict == "passed"


HOSTILE_OUTPUTS = {
    "references that multiply": {
        "type": "object",
        "$ref": "#/$defs/a0",
        "$defs": {
            **{f"a{n}": {"allOf": [{"$ref": f"#/$defs/a{n + 1}"}] * 2} for n in range(30)},
            "a30": {"type": "object"},
        },
    },
    "reference to itself": {"type": "object", "$ref": "#"},
    "pattern that never returns": {"type": "object", "properties": {"a": {"type": "string", "pattern": "^(a+)+$"}}},
    "parts that multiply": {
        "type": "object",
        "properties": {"items": {"items": {"anyOf": [{"type": "string"}] * 600}}},
    },
    "number beyond arithmetic": {"type": "object", "properties": {"number": {"multipleOf": 0.0000001}}},
    "reference to elsewhere": {"type": "object", "properties": {"a": {"$ref": "http://127.0.0.1:9/schema.json"}}},
}


@pytest.mark.parametrize("schema", HOSTILE_OUTPUTS.values(), ids=HOSTILE_OUTPUTS.keys())
async def test_output_schema_that_would_cost_too_much_is_not_run(schema: dict) -> None:
    tools = [tool("trap", outputSchema=schema, annotations={"readOnlyHint": True})]
    content = {"a": "a" * 40 + "!", "items": [1] * 1900, "number": 10**4000}
    result = {"content": [], "structuredContent": content}
    async with serving(scripted(tools_list={"tools": tools}, tools_call=result)) as url:
        # Without a bound this takes minutes: the test's own timeout is what would fail.
        report = await check(f"{url}/mcp", limits=Limits(step_seconds=5))

    assert step(report, "mcp/calls", "call/trap").verdict == "silent"
    assert "not compared" in step(report, "mcp/calls", "call/trap").actual


async def test_huge_agent_card_is_failed_unread() -> None:
    """Reading one costs the SDK many seconds, in which no other run of the process gets on."""
    card = {"name": "huge", "capabilities": {}, "skills": [{"id": "a"}] * 100_000}
    body = json.dumps(card).encode()
    async with raw(says(answer(body))) as url:
        started = time.perf_counter()
        report = await check(url, protocol="a2a", limits=Limits(step_seconds=5))

    assert time.perf_counter() - started < 5
    assert step(report, "a2a/card", "valid").verdict == "failed"
    assert "more than 20,000 values" in step(report, "a2a/card", "valid").actual


async def test_all_answers_of_a_run_together_are_bounded() -> None:
    """They are kept until the run ends; many runs share a process."""
    pages = itertools.count()

    def page(message: dict) -> dict:
        return {"tools": [tool(f"tool-{next(pages)}", description="x" * 100_000)], "nextCursor": str(next(pages))}

    async with serving(scripted(tools_list=page)) as url:
        report = await check(f"{url}/mcp", limits=Limits(step_seconds=5, run_bytes=1_000_000))

    listing = step(report, "mcp/listings", "tools")
    assert (listing.verdict, listing.actual) == ("silent", "Stopped after 3 pages with 3 tools")
    async with serving(scripted(tools_list=page)) as url:
        report = await check(f"{url}/mcp", limits=Limits(step_seconds=5, run_bytes=50_000))
    assert "ll answers together are larger" in step(report, "mcp/listings", "tools").actual


# What is the fault of the machine that tests


@pytest.mark.parametrize("reason", [socket.EAI_AGAIN, socket.EAI_SYSTEM])
async def test_resolver_that_does_not_answer_is_inconclusive(reason: int) -> None:
    async def away(host: str, port: int) -> list[str]:
        raise socket.gaierror(reason, "try again")

    report = await BaselineEngine(resolve=away).run(target("http://agent.example/mcp"))

    assert (report.overall(), report.counts()["failed"]) == (Overall.INCONCLUSIVE, 0)
    assert "could not be looked up from here" in report.harness_error


@pytest.mark.parametrize("reason", [errno.ENETUNREACH, errno.EMFILE, errno.EADDRNOTAVAIL])
async def test_machine_that_cannot_open_a_connection_is_inconclusive(
    monkeypatch: pytest.MonkeyPatch, reason: int
) -> None:
    async def connect(*_: object, **__: object) -> None:
        raise httpcore2.ConnectError from OSError(reason, "ours")

    monkeypatch.setattr(httpcore2.AnyIOBackend, "connect_tcp", connect)
    for protocol in ("mcp", "a2a", ""):
        report = await check("http://127.0.0.1:9/mcp", protocol=protocol)
        assert (report.overall(), report.counts()["failed"]) == (Overall.INCONCLUSIVE, 0)
        assert "no connection" in report.harness_error


async def test_headline_says_why_there_is_no_connection_and_not_where_the_name_leads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def connect(*_: object, **__: object) -> None:
        asyncios = OSError(errno.EHOSTUNREACH, "Connect call failed ('10.1.2.3', 80)")
        raise httpcore2.ConnectError from asyncios

    monkeypatch.setattr(httpcore2.AnyIOBackend, "connect_tcp", connect)
    report = await check("http://127.0.0.1:9/mcp")

    assert step(report, REACH, "reachable").actual == "No route to host (127.0.0.1 port 9)"
    assert "10.1.2.3" not in report.headline()


async def test_timeout_while_the_event_loop_was_held_up_is_inconclusive() -> None:
    """Another run of the process may hold up all: that the time is over then is not this agent's fault."""
    async with raw(hang) as url:
        asyncio.get_running_loop().call_later(0.05, time.sleep, 0.6)
        report = await check(url, limits=QUICK)

    assert (report.overall(), report.counts()["failed"]) == (Overall.INCONCLUSIVE, 0)
    assert "too busy" in report.harness_error
