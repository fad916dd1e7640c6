"""The HTTP+SSE transport of MCP 2024-11-05, deprecated since 2025-03-26: recognized, and no more."""

from __future__ import annotations

import asyncio

from compliance.engines.http.client import HttpClient
from compliance.engines.http.exchange import Exchange

WORDS = "the server speaks MCP over the deprecated HTTP+SSE transport of 2024-11-05, which this suite does not test"
_FIRST_EVENT_SECONDS = 3.0  # servers of this transport send it at once; other streams may stay silent for ever
_FIRST_EVENT_BYTES = 8192


async def find_endpoint(http: HttpClient, url: str) -> Exchange | None:
    """The answer to a GET whose stream begins as this transport does, with an event "endpoint"; else None."""
    exchange, stream = await http.open("GET", url, [(b"Accept", b"text/event-stream")], b"", whole=False)
    if stream is None:
        return None
    try:
        async with asyncio.timeout(_FIRST_EVENT_SECONDS):
            async for chunk in stream:
                tail = bytes(exchange.body[-len(chunk) - 3 :])
                if b"\n\n" in tail or b"\r\n\r\n" in tail or len(exchange.body) > _FIRST_EVENT_BYTES:
                    break
    except TimeoutError:
        return None
    finally:
        await stream.aclose()
    lines = bytes(exchange.body).splitlines()
    return exchange if any(line.replace(b" ", b"") == b"event:endpoint" for line in lines) else None
