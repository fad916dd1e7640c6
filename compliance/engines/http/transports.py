"""The HTTP client as the SDKs' HTTP clients see it.

An SDK never sees a transport error: it gets an empty answer with a server error instead, while the fault stays
on the exchange. So no agent can break an SDK's task group.
"""

from __future__ import annotations

import asyncio

import httpx
import httpx2

from compliance.engines.http.client import BodyStream, HttpClient
from compliance.engines.http.exchange import Headers

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
        exchange, stream = await self._http.open(
            request.method, str(request.url), list(request.headers.raw), body, whole=False
        )
        if exchange.fault is not None:
            return httpx2.Response(_FAULT_STATUS)
        headers = _plain(exchange.headers)
        if stream is None:
            return httpx2.Response(exchange.status, headers=headers, content=bytes(exchange.body))
        return httpx2.Response(exchange.status, headers=headers, stream=_McpBody(stream, self._closing))


class A2ATransport(httpx.AsyncBaseTransport):
    """The HTTP client as the A2A SDK's HTTP client sees it."""

    def __init__(self, http: HttpClient) -> None:
        self._http = http

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        body = await request.aread()
        exchange = await self._http.send(request.method, str(request.url), list(request.headers.raw), body)
        if exchange.fault is not None:
            return httpx.Response(_FAULT_STATUS)
        return httpx.Response(exchange.status, headers=_plain(exchange.headers), content=bytes(exchange.body))
