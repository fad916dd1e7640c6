"""The HTTP client as the SDKs' HTTP clients see it.

An SDK never sees a transport error: it gets an empty answer with a server error instead, while the fault stays
on the exchange. So no agent can break an SDK's task group.
"""

from __future__ import annotations

import asyncio

import httpx2

from compliance.engines.http.body import BodyStream
from compliance.engines.http.client import HttpClient
from compliance.engines.http.exchange import Exchange, Headers
from compliance.engines.http.jsonrpc import error_of, message_of, method_of, read_message

_SESSION = b"mcp-session-id"
_METHOD_NOT_FOUND = -32601
_FAULT_STATUS = 599  # where there was no complete answer


class _McpBody(httpx2.AsyncByteStream):
    def __init__(self, stream: BodyStream, closing: asyncio.Lock) -> None:
        self._stream = stream
        self._closing = closing

    def __aiter__(self) -> BodyStream:
        return self._stream

    async def aclose(self) -> None:
        async with self._closing:
            await self._stream.aclose()


_UNPACKED = {b"content-encoding", b"content-length", b"transfer-encoding"}


def _plain(headers: Headers) -> Headers:
    return [(k, v) for k, v in headers if k.lower() not in _UNPACKED]


class McpTransport(httpx2.AsyncBaseTransport):
    """The HTTP client as the MCP SDK's HTTP client sees it."""

    def __init__(self, http: HttpClient) -> None:
        self._http = http
        self._closing = asyncio.Lock()
        self._session = b""  # the identifier that the server gave last
        self._opening: list[Exchange] = []  # what opened the session, to be sent anew when it has ended

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        body = await request.aread()
        if request.method == "GET" and "last-event-id" not in request.headers:
            # The optional stream for what a server says unasked: no step listens to it, so save the connection.
            return httpx2.Response(405)
        if request.method == "POST" and b'"notifications/cancelled"' in body[:200]:
            # The SDK says this when a wait timed out, and waits for the answer of an agent that just hung.
            return httpx2.Response(202)
        async with self._closing:
            pass  # The SDK asks on as soon as it has an answer; in a moment that answer's connection is free again.
        exchange, stream = await self._open(request.method, str(request.url), list(request.headers.raw), body)
        if exchange.status == 404 and self._session and _has_session(request) and not _is_unknown_method(exchange):
            # The session has ended: whoever is told so opens another one, and asks again.
            if stream is not None:
                await stream.aclose()
            if await self._open_anew():
                exchange, stream = await self._open(request.method, str(request.url), list(request.headers.raw), body)
        if exchange.fault is not None:
            return httpx2.Response(_FAULT_STATUS)
        headers = _plain(exchange.headers)
        if stream is None:
            if exchange.status == 200 and read_message(exchange).problem and b'"id"' in body:
                # An answer that the SDK cannot match with its request would be waited for until time is up.
                return httpx2.Response(_FAULT_STATUS)
            return httpx2.Response(exchange.status, headers=headers, content=bytes(exchange.body))
        return httpx2.Response(exchange.status, headers=headers, stream=_McpBody(stream, self._closing))

    async def _open(self, method: str, url: str, headers: Headers, body: bytes) -> tuple[Exchange, BodyStream | None]:
        """Send, in the session that is open now whatever the SDK believes."""
        sent = [(k, self._session if k.lower() == _SESSION and self._session else v) for k, v in headers]
        exchange, stream = await self._http.open(method, url, sent, body, whole=False)
        asked = method_of(exchange)
        if asked == "initialize" and exchange.status == 200:
            self._session = exchange.header("mcp-session-id").encode("latin-1")
            self._opening = [exchange]
        elif asked == "notifications/initialized":
            self._opening = [*self._opening[:1], exchange]
        return exchange, stream

    async def _open_anew(self) -> bool:
        opening = self._opening
        self._http.extend_patience(self._http.limits.step_seconds * len(opening))
        for past in opening:
            headers = past.request_headers
            exchange, stream = await self._open(past.method, past.url, headers, past.request_body)
            if stream is not None:
                await stream.read_to_answer()
            if exchange.fault is not None or exchange.status >= 400:
                return False
        return bool(self._session)


def _has_session(request: httpx2.Request) -> bool:
    return request.method == "POST" and "mcp-session-id" in request.headers


def _is_unknown_method(exchange: Exchange) -> bool:
    code, _ = error_of(message_of(exchange)[0])
    return bool(code == _METHOD_NOT_FOUND)
