"""The body of one answer, read within the limits of its run."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import TYPE_CHECKING

import httpcore2

from compliance.engines.http.exchange import Exchange, Fault, FaultKind
from compliance.engines.http.jsonrpc import AnswerInStream

if TYPE_CHECKING:
    from compliance.engines.http.client import HttpClient

_TAIL_SECONDS = 0.05  # how long, and over how many bytes, the end of a body is waited for that nobody reads further
_TAIL_BYTES = 4096


class BodyStream:
    """A response body within its limits. A fault ends it early and stays on the exchange.

    An object rather than a generator: readers stop before the end, and what they leave of a generator has to
    be collected by the loop, at the cost of a task each.
    """

    def __init__(
        self, http: HttpClient, exchange: Exchange, response: httpcore2.Response, started: float, ends: float
    ) -> None:
        self._http = http
        self._exchange = exchange
        self._response = response
        self._started = started
        self._ends = ends
        self._packed: AsyncGenerator[bytes] = response.aiter_stream()
        self._unpack: Callable[[bytes], Iterator[bytes]] | None = None
        self._unpacked: Iterator[bytes] = iter(())
        self._closed = False

    def __aiter__(self) -> BodyStream:
        return self

    async def __anext__(self) -> bytes:
        if self._closed:
            raise StopAsyncIteration
        chunk = None
        try:
            chunk = await self._next()
        except Exception as error:
            fault = self._http.fault_of(error, self._exchange)
            if fault is None:
                raise
            self._exchange.fault = fault
        finally:
            if chunk is None:
                self._end()
                await self._release()
        if chunk is None:
            raise StopAsyncIteration
        return chunk

    async def read_to_answer(self) -> None:
        """Read an event stream to the JSON-RPC answer in it, or to its end, and close it."""
        answer = AnswerInStream(self._exchange)
        async for _ in self:
            if answer.is_there():
                break
        await self.aclose()

    async def _next(self) -> bytes | None:
        exchange, http = self._exchange, self._http
        if self._unpack is None:
            self._unpack = _unpacker(exchange.header("content-encoding"))
        while (chunk := next(self._unpacked, None)) is None:
            async with asyncio.timeout_at(self._ends):
                packed = await anext(self._packed, None)
            if packed is None:
                return None
            self._unpacked = self._unpack(packed)
        if len(exchange.body) + len(chunk) > http.limits.response_bytes:
            raise Fault(FaultKind.SIZE, f"the answer is larger than {http.limits.response_bytes:,} bytes")
        http.received += len(chunk)
        if http.received > http.limits.run_bytes:
            raise Fault(FaultKind.SIZE, f"all answers together are larger than {http.limits.run_bytes:,} bytes")
        exchange.body += chunk
        return chunk

    async def aclose(self) -> None:
        """Close, but read on to an end that is near: only then can the connection carry the next request."""
        if self._closed:
            return
        self._end()
        left, ends = _TAIL_BYTES, min(asyncio.get_running_loop().time() + _TAIL_SECONDS, self._ends)
        try:
            async with asyncio.timeout_at(ends):
                while left > 0 and (packed := await anext(self._packed, None)) is not None:
                    # Nobody looks at it, so it cannot break a rule; it counts all the same.
                    self._http.received += len(packed)
                    left -= len(packed)
        except Exception:  # noqa: BLE001, S110 -- the reader has what it wanted: what comes after does not count
            pass
        finally:
            await self._release()

    def _end(self) -> None:
        self._closed = True
        self._exchange.seconds = asyncio.get_running_loop().time() - self._started

    async def _release(self) -> None:
        try:
            await self._packed.aclose()
        finally:
            await self._response.aclose()


def _unpacker(encoding: str) -> Callable[[bytes], Iterator[bytes]]:
    """Undo a compression that nobody asked for, in small pieces, so that the byte limit stops a bomb."""
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return lambda packed: iter((packed,))
    if name not in ("gzip", "x-gzip", "deflate"):
        raise Fault(FaultKind.ENCODING, "the answer is compressed although no compression was asked for")
    inflate = zlib.decompressobj(wbits=47 if "gzip" in name else 15)

    def unpack(packed: bytes) -> Iterator[bytes]:
        try:
            while packed:
                yield inflate.decompress(packed, 65536)
                packed = inflate.unconsumed_tail
        except zlib.error:
            raise Fault(FaultKind.ENCODING, "the answer's compression is broken") from None

    return unpack
