"""All the HTTP of one run: one connection pool behind the egress guard, bounded in bytes, time and redirects.

What goes wrong is written down as the exchange's `fault` and never raised: a step reads from the exchange
what really happened. The SDKs reach the wire through the module `transports`.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import errno
import functools
import socket
import ssl
import zlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import certifi
import httpcore2
import httpx2

from .contract import Limits
from .egress import AddressRefused, Guard

Headers = list[tuple[bytes, bytes]]

_HOP_HEADERS = {b"authorization", b"cookie", b"proxy-authorization"}
_REDIRECTS = {301, 302, 303, 307, 308}

# Reasons that lie with the machine that tests: no network, no resolver, nothing left to open a connection with.
_OUR_ERRORS = {
    errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM,
    errno.EADDRNOTAVAIL, errno.ENETDOWN, errno.ENETUNREACH, errno.EACCES, errno.EPERM,
}  # fmt: skip
_TICK = 0.25  # seconds between two looks at how late the event loop is
_LATE_SHARE = 0.2  # of an exchange's time: with more of it lost by us, a timeout is not the agent's


class FaultKind(StrEnum):
    REFUSED = "refused"  # our egress rule, before anything was sent
    OURS = "ours"  # the machine that tests could not: says nothing about the agent
    CONNECT = "connect"
    TLS = "tls"
    TIMEOUT = "timeout"
    DEADLINE = "deadline"  # the whole run's time was up: says nothing about the agent
    CLOSED = "closed"
    SIZE = "size"
    ENCODING = "encoding"
    REDIRECT = "redirect"
    MALFORMED = "malformed"


class Fault(Exception):
    """Why there is no complete answer, in words that hold nothing of what the agent sent but host names."""

    def __init__(self, kind: FaultKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


@dataclass(slots=True)
class Exchange:
    """One request and what became of it."""

    method: str
    url: str
    request_headers: Headers
    request_body: bytes
    status: int = 0  # 0: no answer
    headers: Headers = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)
    fault: Fault | None = None
    seconds: float = 0.0
    hops: tuple[str, ...] = ()  # where redirects led
    late_before: float = 0.0  # the wire's `late` when the exchange began

    def header(self, name: str) -> str:
        wanted = name.lower().encode()
        return next((v.decode("latin-1") for k, v in self.headers if k.lower() == wanted), "")

    @property
    def media_type(self) -> str:
        return self.header("content-type").partition(";")[0].strip().lower()


@functools.cache
def default_ssl_context() -> ssl.SSLContext:
    """Built once for the process: reading the certificate authorities costs more than a whole run."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


class _Stream(httpcore2.AsyncNetworkStream):
    """Keeps the reason of a failed TLS handshake, which the pool's exceptions lose."""

    def __init__(self, inner: httpcore2.AsyncNetworkStream, backend: GuardedBackend) -> None:
        self._inner = inner
        self._backend = backend

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return await self._inner.read(max_bytes, timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self._inner.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.AsyncNetworkStream:
        self._backend.handshaking = True
        try:
            stream = await self._inner.start_tls(ssl_context, server_hostname, timeout)
        except httpcore2.ConnectError as error:
            raise Fault(FaultKind.TLS, _tls_words(error)) from error
        except asyncio.CancelledError:
            await self._inner.aclose()  # the pool does not know this connection yet, and would leak it
            raise
        self._backend.handshaking = False
        tls = stream.get_extra_info("ssl_object")
        if tls is not None:
            self._backend.tls_version = tls.version() or ""
            self._backend.certificate = tls.getpeercert() or {}
        return stream

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


def _tls_words(error: BaseException) -> str:
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLError):
        cause = cause.__cause__ or cause.__context__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"the certificate is not valid: {cause.verify_message}"
    if isinstance(cause, ssl.SSLError):
        return f"no TLS session: {(cause.reason or 'handshake failed').replace('_', ' ').lower()}"
    return "no TLS session: the connection was closed during the handshake"


class GuardedBackend(httpcore2.AsyncNetworkBackend):
    """Opens every connection of a run, and only to addresses that the guard has checked."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._inner = httpcore2.AnyIOBackend()
        self.handshaking = False
        self.tls_version = ""
        self.certificate: dict[str, Any] = {}

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        try:
            addresses = await self._guard.check(host, port)
        except AddressRefused as error:
            raise Fault(FaultKind.REFUSED, str(error)) from error
        except OSError as error:
            if _is_ours(error):
                raise Fault(FaultKind.OURS, f"the name {host} could not be looked up from here") from error
            raise Fault(FaultKind.CONNECT, f"the name {host} could not be resolved") from error
        failure: Exception | None = None
        for address in addresses[:4]:
            try:
                stream = await self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
            except httpcore2.ConnectError as error:
                failure = error
            else:
                return _Stream(stream, self)
        words = f"no connection to {host} port {port}: {_connect_words(failure)}"
        raise Fault(FaultKind.OURS if _is_ours(failure) else FaultKind.CONNECT, words) from failure

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore2.AsyncNetworkStream:
        raise Fault(FaultKind.REFUSED, "address not allowed: a socket in the file system")

    async def sleep(self, seconds: float) -> None:
        await self._inner.sleep(seconds)


def _is_ours(error: BaseException | None) -> bool:
    """Whether it was our machine that could not: EAI_AGAIN is a resolver that does not answer."""
    while error is not None:
        if isinstance(error, socket.gaierror):
            return error.errno in (socket.EAI_AGAIN, socket.EAI_MEMORY, socket.EAI_SYSTEM)
        if isinstance(error, OSError) and error.errno in _OUR_ERRORS:
            return True
        error = error.__cause__ or error.__context__
    return False


def _connect_words(error: BaseException | None) -> str:
    while error is not None:
        if isinstance(error, ConnectionRefusedError):
            return "nothing listens there"
        if isinstance(error, OSError) and error.strerror:
            return error.strerror.lower()
        error = error.__cause__ or error.__context__
    return "the attempt failed"


class Wire:
    """The pool, the clock and the record of one run."""

    def __init__(
        self,
        *,
        guard: Guard,
        limits: Limits,
        deadline: float,
        token: str | None = None,
        token_url: str = "",
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self.limits = limits
        self.backend = GuardedBackend(guard)
        self.exchanges: list[Exchange] = []
        self.out_of_time = False
        self.received = 0  # bytes of all answers, after decompression
        self.late = 0.0  # seconds that the event loop was held up while the run lasted
        self._loop = asyncio.get_running_loop()
        self._tick: asyncio.TimerHandle | None = None
        self._ends = self._loop.time() + deadline
        self._token = token
        self._token_origin = _origin(token_url) if token else None
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=ssl_context or default_ssl_context(),
            max_connections=10,
            max_keepalive_connections=4,
            network_backend=self.backend,
        )

    async def __aenter__(self) -> Wire:
        self._watch(self._loop.time())
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._tick is not None:
            self._tick.cancel()
        await self._pool.aclose()

    def _watch(self, expected: float) -> None:
        # The loop is shared with other runs: when one holds it up, the clocks of all others run on.
        late = self._loop.time() - expected
        if late > _TICK:
            self.late += late
        due = self._loop.time() + _TICK
        self._tick = self._loop.call_at(due, self._watch, due)

    @property
    def remaining(self) -> float:
        return self._ends - self._loop.time()

    def time_is_up(self) -> bool:
        if self.remaining <= 0:
            self.out_of_time = True
        return self.out_of_time

    async def send(
        self, method: str, url: str, headers: Headers | None = None, body: bytes = b"", *, with_token: bool = True
    ) -> Exchange:
        """One exchange with its whole body read, redirects followed; never raises for what the agent does."""
        exchange, _ = await self.open(method, url, headers or [], body, with_token=with_token)
        return exchange

    async def open(
        self, method: str, url: str, headers: Headers, body: bytes, *, with_token: bool = True, whole: bool = True
    ) -> tuple[Exchange, BodyStream | None]:
        """Send, and read the body too, unless it is an event stream and the caller wants to read that itself."""
        exchange = Exchange(method, url, list(headers), body, late_before=self.late)
        self.exchanges.append(exchange)
        started = self._loop.time()
        budget = min(self.limits.step_seconds, self.remaining)
        if self.time_is_up():
            exchange.fault = Fault(FaultKind.DEADLINE, "the time for the whole run was up")
            return exchange, None
        try:
            async with asyncio.timeout(budget):
                response = await self._follow(exchange, with_token)
        except Exception as error:
            fault = self.fault_of(error, exchange)
            if fault is None:
                raise
            exchange.fault = fault
            exchange.seconds = self._loop.time() - started
            return exchange, None
        stream = BodyStream(self, exchange, response, started, started + budget)
        if not whole and exchange.media_type == "text/event-stream":
            return exchange, stream
        async for _ in stream:
            pass
        return exchange, None

    def fault_of(self, error: Exception, exchange: Exchange) -> Fault | None:
        """What an exception of the layers below says about the agent; None when it is our own bug."""
        if isinstance(error, Fault):
            return error
        if isinstance(error, (TimeoutError, httpcore2.TimeoutException)):
            if self.time_is_up():
                return Fault(FaultKind.DEADLINE, "the time for the whole run was up")
            if self.late - exchange.late_before > self.limits.step_seconds * _LATE_SHARE:
                return Fault(FaultKind.OURS, "the machine that tests was too busy to wait for the answer")
            what = "no complete answer" if exchange.status else "no answer"
            return Fault(FaultKind.TIMEOUT, f"{what} within {self.limits.step_seconds:g} s")
        if isinstance(error, httpcore2.RemoteProtocolError):
            where = "in the middle of the answer" if exchange.status else "without a valid HTTP answer"
            return Fault(FaultKind.CLOSED, f"the connection was closed {where}")
        if isinstance(error, (httpcore2.NetworkError, OSError)):
            return Fault(FaultKind.CLOSED, "the connection broke before the answer was complete")
        if isinstance(error, (httpcore2.ProtocolError, httpcore2.UnsupportedProtocol, httpx2.InvalidURL)):
            return Fault(FaultKind.MALFORMED, "the address or a header is malformed")
        return None

    async def _follow(self, exchange: Exchange, with_token: bool) -> httpcore2.Response:
        url = httpx2.URL(exchange.url)
        method, headers, body = exchange.method, exchange.request_headers, exchange.request_body
        seen = {str(url)}
        while True:
            response = await self._request(method, url, headers, body, with_token)
            exchange.status, exchange.headers = response.status, list(response.headers)
            location = exchange.header("location")
            if response.status not in _REDIRECTS or not location:
                return response
            await response.aclose()
            target = url.join(location)
            exchange.hops = (*exchange.hops, str(target.copy_with(userinfo=b"", query=None, fragment=None)))
            if str(target) in seen:
                raise Fault(FaultKind.REDIRECT, "the agent redirects in a loop")
            if len(exchange.hops) > self.limits.redirects:
                raise Fault(FaultKind.REDIRECT, f"the agent redirects more than {self.limits.redirects} times")
            if target.scheme not in ("http", "https") or (url.scheme == "https" and target.scheme == "http"):
                raise Fault(FaultKind.REDIRECT, f"the agent redirects to {target.scheme}, which is not followed")
            if response.status in (301, 302, 303) and method != "GET":
                raise Fault(FaultKind.REDIRECT, f"the agent redirects a {method} with status {response.status}")
            if target.host != url.host:
                if method != "GET":
                    raise Fault(FaultKind.REDIRECT, f"the agent redirects a {method} to another host, {target.host}")
                headers = [(k, v) for k, v in headers if k.lower() not in _HOP_HEADERS]
            seen.add(str(target))
            url = target

    async def _request(
        self, method: str, url: httpx2.URL, headers: Headers, body: bytes, with_token: bool
    ) -> httpcore2.Response:
        if url.scheme not in ("http", "https") or not url.host:
            raise Fault(FaultKind.MALFORMED, f"{url.scheme or 'no'} scheme: only http and https addresses are tested")
        drop = {
            b"accept-encoding",
            b"user-agent",
            b"host",
            b"authorization",
            b"content-length",
            b"transfer-encoding",
            b"cookie",
        }
        # Whoever is called may know by whom.
        sent: Headers = [(b"Host", url.netloc), (b"User-Agent", b"Assay/1.0 (compliance test)")]
        sent += [(k, v) for k, v in headers if k.lower() not in drop]
        # Whatever is compressed has to be unpacked within the byte limit: better not to be sent any.
        sent.append((b"Accept-Encoding", b"identity"))
        if body or method == "POST":
            sent.append((b"Content-Length", str(len(body)).encode()))
        if with_token and self._token and _origin(url) == self._token_origin:
            sent.append((b"Authorization", b"Bearer " + self._token.encode("utf-8")))
        return await self._pool.handle_async_request(
            httpcore2.Request(
                method=method,
                url=httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
                headers=sent,
                content=body,
            )
        )

    def certificate_days(self) -> int | None:
        """Days until the agent's certificate runs out; None when there was none."""
        text = self.backend.certificate.get("notAfter")
        if not text:
            return None
        ends = dt.datetime.fromtimestamp(ssl.cert_time_to_seconds(str(text)), dt.UTC)
        return (ends - dt.datetime.now(dt.UTC)).days


def _origin(url: httpx2.URL | str) -> tuple[str, str, int | None]:
    parsed = httpx2.URL(url)
    return parsed.scheme, parsed.host, parsed.port


class BodyStream:
    """A response body within its limits. A fault ends it early and stays on the exchange."""

    def __init__(
        self, wire: Wire, exchange: Exchange, response: httpcore2.Response, started: float, ends: float
    ) -> None:
        self._wire = wire
        self._exchange = exchange
        self._response = response
        self._started = started
        self._ends = ends

    async def __aiter__(self) -> AsyncIterator[bytes]:
        exchange, limit = self._exchange, self._wire.limits.response_bytes
        try:
            unpack = _unpacker(exchange.header("content-encoding"))
            source = self._response.aiter_stream()
            while True:
                # Around each read rather than the loop: a generator must not hold a timeout while it is suspended.
                async with asyncio.timeout_at(self._ends):
                    packed = await anext(source, None)
                if packed is None:
                    break
                for chunk in unpack(packed):
                    if len(exchange.body) + len(chunk) > limit:
                        raise Fault(FaultKind.SIZE, f"the answer is larger than {limit:,} bytes")
                    self._wire.received += len(chunk)
                    if self._wire.received > self._wire.limits.run_bytes:
                        raise Fault(
                            FaultKind.SIZE,
                            f"all answers together are larger than {self._wire.limits.run_bytes:,} bytes",
                        )
                    exchange.body += chunk
                    yield chunk
        except Exception as error:
            fault = self._wire.fault_of(error, exchange)
            if fault is None:
                raise
            exchange.fault = fault
        finally:
            await self.aclose()

    async def aclose(self) -> None:
        self._exchange.seconds = asyncio.get_running_loop().time() - self._started
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
