"""All the HTTP of one run: one connection pool behind the egress guard, bounded in bytes, time and redirects.

What goes wrong is written down as the exchange's `fault` and never raised: a step reads from the exchange
what really happened. The SDKs reach the HTTP client through the module `transports`.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import ssl
import time
from collections.abc import AsyncIterator

import httpcore2
import httpx2

from compliance.engines.contract import Credential, Limits, Target
from compliance.engines.http.body import BodyStream
from compliance.engines.http.egress import Guard
from compliance.engines.http.exchange import HIDDEN, Exchange, Fault, FaultKind, Headers
from compliance.engines.http.network import GuardedBackend, default_ssl_context
from compliance.engines.http.obstacles import is_wall, limited_words, retry_after, wall_words

_HOP_HEADERS = {b"authorization", b"cookie", b"proxy-authorization"}
_REDIRECTS = {301, 302, 303, 307, 308}

_TICK = 0.25  # seconds between two looks at how late the event loop is
_IDLE_SECONDS = 2.0  # servers close after five or more: no request should be sent into that very moment
_PACE_SECONDS = 0.1  # between two requests to an agent that limits how often it is asked
_LATE_SHARE = 0.2  # of an exchange's time: with more of it lost by us, a timeout is not the agent's


class HttpClient:
    """The pool, the clock and the record of one run."""

    def __init__(
        self,
        *,
        guard: Guard,
        limits: Limits,
        deadline: float,
        credential: Credential | None = None,
        credential_url: str = "",
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self.limits = limits
        self.backend = GuardedBackend(guard)
        self.exchanges: list[Exchange] = []
        self.out_of_time = False
        self.received = 0  # bytes of all answers, after decompression
        self.started = time.perf_counter()
        self.late = 0.0  # seconds that the event loop was held up while the run lasted
        self._loop = asyncio.get_running_loop()
        self._tick: asyncio.TimerHandle | None = None
        self._ends = self._loop.time() + deadline
        self._patience: list[asyncio.Timeout] = []
        self._not_before = 0.0  # once an agent limits how often it is asked, it is asked slowly
        self._paced = False
        self._credential = credential
        self._credential_header = credential.header.encode("ascii") if credential else b""
        self._credential_origin = _origin(credential_url) if credential else None
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=ssl_context or default_ssl_context(),
            max_connections=10,
            max_keepalive_connections=4,
            keepalive_expiry=_IDLE_SECONDS,
            network_backend=self.backend,
        )

    @classmethod
    def for_target(cls, target: Target, guard: Guard, ssl_context: ssl.SSLContext | None = None) -> HttpClient:
        """All that a run of this target sends, with its credential."""
        return cls(
            guard=guard,
            limits=target.limits,
            deadline=target.deadline,
            credential=target.credential,
            credential_url=target.url,
            ssl_context=ssl_context,
        )

    async def __aenter__(self) -> HttpClient:
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

    @contextlib.asynccontextmanager
    async def patience(self, seconds: float) -> AsyncIterator[None]:
        """A limit of time, against which waiting for the agent's own limits does not count. Raises TimeoutError."""
        async with asyncio.timeout(seconds) as limit:
            self._patience.append(limit)
            try:
                yield
            finally:
                self._patience.remove(limit)

    def extend_patience(self, seconds: float) -> None:
        for limit in self._patience:
            if (when := limit.when()) is not None:
                limit.reschedule(when + seconds)

    async def send(
        self,
        method: str,
        url: str,
        headers: Headers | None = None,
        body: bytes = b"",
        *,
        with_credential: bool = True,
        until_answered: bool = False,
    ) -> Exchange:
        """One exchange with its whole body read, redirects followed; never raises for what the agent does.

        until_answered: read an event stream only to the JSON-RPC answer in it; an agent may leave it open after that.
        """
        exchange, stream = await self.open(
            method, url, headers or [], body, with_credential=with_credential, whole=not until_answered
        )
        if stream is not None:
            await stream.read_to_answer()
        return exchange

    async def open(
        self, method: str, url: str, headers: Headers, body: bytes, *, with_credential: bool = True, whole: bool = True
    ) -> tuple[Exchange, BodyStream | None]:
        """Send, and read the body too, unless it is an event stream and the caller wants to read that itself.

        Who says that it is asked too often, or is not available for now, is asked again when it wants to be (E3).
        """
        attempt = 0
        while True:
            await self._pace()
            exchange, stream = await self._open_once(method, url, headers, body, with_credential, whole)
            if exchange.fault is None and is_wall(exchange):
                exchange.fault = Fault(FaultKind.WALL, wall_words(exchange))
            seconds = retry_after(exchange, attempt) if exchange.fault is None else None
            # Nobody waits to be allowed to say goodbye.
            if seconds is None or method == "DELETE" or not self.limits.retries:
                return exchange, stream
            if stream is not None:
                await stream.aclose()
            self._paced = True
            attempt += 1
            longest = min(self.limits.retry_seconds, self.remaining - self.limits.step_seconds / 2)
            if attempt > self.limits.retries or seconds > longest:
                exchange.fault = Fault(FaultKind.LIMITED, limited_words(exchange, seconds))
                return exchange, None
            self.extend_patience(seconds + self.limits.step_seconds)
            await asyncio.sleep(seconds)

    async def _pace(self) -> None:
        if self._paced:
            if (wait := self._not_before - self._loop.time()) > 0:
                await asyncio.sleep(wait)
            self._not_before = self._loop.time() + _PACE_SECONDS

    async def _open_once(
        self, method: str, url: str, headers: Headers, body: bytes, with_credential: bool, whole: bool
    ) -> tuple[Exchange, BodyStream | None]:
        exchange = Exchange(method, url, list(headers), body, late_before=self.late)
        self.exchanges.append(exchange)
        started = self._loop.time()
        budget = min(self.limits.step_seconds, self.remaining)
        if self.time_is_up():
            exchange.fault = Fault(FaultKind.DEADLINE, "the time for the whole run was up")
            return exchange, None
        try:
            async with asyncio.timeout(budget):
                response = await self._follow(exchange, with_credential)
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

    async def _follow(self, exchange: Exchange, with_credential: bool) -> httpcore2.Response:
        url = httpx2.URL(exchange.url)
        method, headers = exchange.method, exchange.request_headers
        seen = {str(url)}
        while True:
            response = await self._request(exchange, url, headers, with_credential)
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
        self, exchange: Exchange, url: httpx2.URL, headers: Headers, with_credential: bool
    ) -> httpcore2.Response:
        method, body = exchange.method, exchange.request_body
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
            self._credential_header.lower(),
        }
        # Whoever is called may know by whom.
        sent: Headers = [(b"Host", url.netloc), (b"User-Agent", b"Assay/1.0 (compliance test)")]
        sent += [(k, v) for k, v in headers if k.lower() not in drop]
        # Whatever is compressed has to be unpacked within the byte limit: better not to be sent any.
        sent.append((b"Accept-Encoding", b"identity"))
        if body or method == "POST":
            sent.append((b"Content-Length", str(len(body)).encode()))
        # Asked anew for each address that a redirect leads to.
        shown = list(sent)
        if with_credential and self._credential and _origin(url) == self._credential_origin:
            shown.append((self._credential_header, HIDDEN.encode()))
            sent.append((self._credential_header, self._credential.value.encode("utf-8")))
        exchange.sent_headers = exchange.sent_headers or shown
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
