"""The way out for programs that an engine starts: a forward proxy behind the egress guard, one for each run.

It listens on the loopback inside the worker's event loop, for as long as the run lasts, and serves nobody who
does not know the run's own password. Heads are read by h11; bytes are passed on as they come.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hmac
import logging
import secrets
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h11

from compliance.engines.http.egress import Connection, Guard
from compliance.engines.http.proxy_headers import (
    HEAD_BYTES,
    Malformed,
    Refusal,
    Route,
    refusal_events,
    route_of,
    to_agent,
    to_client,
)
from compliance.engines.http.proxy_upstream import CHUNK, Stopped, Upstream

log = logging.getLogger(__name__)

_PRELOAD = Path(__file__).parents[1] / "process" / "node" / "egress.cjs"
_LINGER_SECONDS = 1.0
_USER = "run"


@dataclass(frozen=True, slots=True)
class ProxyLimits:
    """What one run may take of the network through its proxy."""

    seconds: float  # for all of the run
    bytes: int = 256 * 1024 * 1024  # both ways, of all connections together
    connections: int = 2000
    at_once: int = 64
    connect_seconds: float = 10.0


class _Client:
    """One connection of the program that runs, with one request after the other on it."""

    def __init__(self, proxy: EgressProxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.proxy = proxy
        self.reader = reader
        self.writer = writer
        self.http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES)

    async def serve(self) -> None:
        with contextlib.suppress(OSError):
            while await self._one():
                self.http.start_next_cycle()

    async def _event(self) -> Any:
        """What the program says next, as h11 has it. Raises Malformed."""
        try:
            while True:
                event = self.http.next_event()
                if event is not h11.NEED_DATA:
                    return event
                self.http.receive_data(await self.reader.read(CHUNK))
        except h11.RemoteProtocolError as error:
            raise Malformed("the request is not valid HTTP") from error

    async def _send(self, *events: h11.Event) -> None:
        for event in events:
            self.writer.write(self.http.send(event) or b"")
        await self.writer.drain()

    async def _one(self) -> bool:
        """Serve one request; whether another one may follow."""
        route = Route("", 0)
        try:
            request = await self._event()
            if not isinstance(request, h11.Request):
                return False
            self._authorize(request)
            route = route_of(request)
            self.proxy.admit()
        except Malformed as error:
            self.proxy.keep(Connection(route.host, route.port, "", 0, 0, 0.0, "malformed"))
            return await self._refuse(_bad(error))
        except Refusal as refusal:
            outcome = "unauthorized" if refusal.status == 407 else "limit"
            self.proxy.keep(Connection(route.host, route.port, "", 0, 0, 0.0, outcome))
            return await self._refuse(refusal)
        upstream = Upstream(self.proxy, route)
        try:
            await upstream.open()
            if route.tunnel:
                await self._tunnel(upstream)
            else:
                await self._forward(request, upstream)
        except Refusal as refusal:
            return await self._refuse(refusal)
        except Stopped as stopped:
            upstream.outcome = upstream.outcome if upstream.outcome == "ok" else str(stopped)
            return await self._refuse(Refusal(502, "the connection to the agent broke", "connection_terminated"))
        except Malformed as error:
            upstream.outcome = "malformed"
            return await self._refuse(_bad(error))
        except h11.RemoteProtocolError:
            upstream.outcome = "broken"
            return await self._refuse(Refusal(502, "the agent's answer is not valid HTTP", "http_protocol_error"))
        finally:
            upstream.close()
        return not route.tunnel and self.http.our_state is h11.DONE and self.http.their_state is h11.DONE

    def _authorize(self, request: h11.Request) -> None:
        given = [value for name, value in request.headers if name == b"proxy-authorization"]
        # Compared even when nothing was given, so that the time says nothing.
        if not hmac.compare_digest(b"".join(given), self.proxy.authorization) or len(given) != 1:
            raise Refusal(407, "this proxy is for one run, which knows its password", "proxy_authentication")

    async def _refuse(self, refusal: Refusal) -> bool:
        """Say why, when nothing was said yet; the connection ends here."""
        if self.http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.writer.transport.abort()  # a cut answer must not look complete
            return False
        await self._send(*refusal_events(refusal))
        _half_close(self.writer)
        # Closing on what still comes would reset the connection, and take the answer away from the program.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_SECONDS):
                while await self.reader.read(CHUNK):
                    pass
        return False

    async def _tunnel(self, upstream: Upstream) -> None:
        await self._send(h11.Response(status_code=200, headers=[], reason=b"Connection established"))
        await upstream.write(self.http.trailing_data[0])
        await _together(asyncio.FIRST_EXCEPTION, self._pump_up(upstream), self._pump_down(upstream))
        upstream.outcome = "ok"

    async def _pump_up(self, upstream: Upstream) -> None:
        while data := await self.reader.read(CHUNK):
            await upstream.write(data)
        _half_close(upstream.writer)

    async def _pump_down(self, upstream: Upstream) -> None:
        while data := await upstream.read():
            self.writer.write(data)
            await self.writer.drain()
        _half_close(self.writer)

    async def _forward(self, request: h11.Request, upstream: Upstream) -> None:
        agent = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_BYTES)
        await upstream.write(agent.send(to_agent(request, upstream.route)) or b"")
        if self.http.they_are_waiting_for_100_continue:
            await self._send(h11.InformationalResponse(status_code=100, headers=[]))
        await _together(asyncio.FIRST_COMPLETED, self._answer_down(agent, upstream), self._body_up(agent, upstream))

    async def _body_up(self, agent: h11.Connection, upstream: Upstream) -> None:
        """Pass the request's body on, then wait for the program to leave, which ends the exchange."""
        while not isinstance(event := await self._event(), h11.EndOfMessage):
            if isinstance(event, h11.Data):
                await upstream.write(agent.send(h11.Data(data=bytes(event.data))) or b"")
        await upstream.write(agent.send(h11.EndOfMessage()) or b"")
        while data := await self.reader.read(CHUNK):
            self.http.receive_data(data)
            if len(self.http.trailing_data[0]) > HEAD_BYTES:
                raise Malformed("the program asks on before it has its answer")
        raise Stopped("stopped")

    async def _answer_down(self, agent: h11.Connection, upstream: Upstream) -> None:
        while True:
            event = agent.next_event()
            if event is h11.NEED_DATA:
                agent.receive_data(await upstream.read())
            elif isinstance(event, h11.InformationalResponse):
                if self.http.their_http_version != b"1.0":
                    await self._send(event)
            elif isinstance(event, h11.Response):
                await self._send(to_client(event))
            elif isinstance(event, h11.Data):
                await self._send(h11.Data(data=bytes(event.data)))
            elif isinstance(event, h11.EndOfMessage):
                await self._send(h11.EndOfMessage())
                upstream.outcome = "ok"
                return
            else:
                raise Stopped("broken")


async def _together(until: str, *work: Coroutine[Any, Any, None]) -> None:
    """Run all at once until one fails, or the first is done if that is what is asked; raises what was raised."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=until)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _bad(error: Malformed) -> Refusal:
    return Refusal(400, str(error), "http_request_error")


def _half_close(writer: asyncio.StreamWriter | None) -> None:
    with contextlib.suppress(OSError):
        if writer is not None and writer.can_write_eof():
            writer.write_eof()


class EgressProxy:
    """What an engine needs of its run's proxy, and what became of the connections through it."""

    def __init__(self, guard: Guard, run_key: str, limits: ProxyLimits) -> None:
        self.guard = guard
        self.run_key = run_key
        self.limits = limits
        self.port = 0
        self.password = secrets.token_urlsafe(24)
        self.authorization = b"Basic " + base64.b64encode(f"{_USER}:{self.password}".encode())
        self.refusals: dict[tuple[str, int], str] = {}  # host and port to the guard's reason
        self.connections: list[Connection] = []
        self.bytes = 0  # both ways
        self.exhausted = ""  # the limit that was reached, in words
        self._admitted = 0
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def refused(self) -> list[str]:
        """The guard's reasons, each once, in the order in which they were met."""
        return list(dict.fromkeys(self.refusals.values()))

    @property
    def url(self) -> str:
        """The proxy's address with this run's password: a secret, as long as the run lasts."""
        return f"http://{_USER}:{self.password}@127.0.0.1:{self.port}"

    def environment(self) -> dict[str, str]:
        """What makes Node and Python programs send everything through this proxy, loopback included.

        Node's own flags belong among the program's arguments: NODE_OPTIONS is taken.
        """
        proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), self.url)
        preload = str(_PRELOAD).replace("\\", "\\\\").replace('"', '\\"')
        node = {"NODE_USE_ENV_PROXY": "1", "NODE_OPTIONS": f'--require "{preload}"'}
        return {**proxies, "NO_PROXY": "", "no_proxy": "", **node}

    def admit(self) -> None:
        """Count one more connection. Raises Refusal when the run has had its share."""
        self._admitted += 1
        if self._admitted > self.limits.connections:
            self.exhausted = self.exhausted or f"more than {self.limits.connections} connections"
        if self.exhausted:
            raise Refusal(503, f"this run has used its share of the network: {self.exhausted}", "proxy_limit")

    def spend(self, count: int) -> None:
        self.bytes += count
        if self.bytes > self.limits.bytes:
            self.exhausted = self.exhausted or f"more than {self.limits.bytes} bytes"
            raise Stopped("limit")

    def keep(self, connection: Connection) -> None:
        connection.log(self.run_key)
        self.connections.append(connection)

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._tasks) >= self.limits.at_once:
            self.keep(Connection("", 0, "", 0, 0, 0.0, "limit"))
            writer.transport.abort()
            return
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await _Client(self, reader, writer).serve()
            writer.close()
        except Exception:
            log.exception("The proxy of run %s broke on a connection", self.run_key)
        finally:
            if not writer.is_closing():
                writer.transport.abort()

    def out_of_time(self) -> None:
        self.exhausted = f"more than {self.limits.seconds:g} seconds"
        for task in self._tasks:
            task.cancel()

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def egress_proxy(guard: Guard, *, run_key: str, limits: ProxyLimits) -> AsyncIterator[EgressProxy]:
    """A proxy for one run, on a port of its own; port and connections end with the block.

    run_key: names the run in the log of its connections.
    """
    proxy = EgressProxy(guard, run_key, limits)
    server = await asyncio.start_server(proxy.accept, "127.0.0.1", 0, limit=CHUNK)
    proxy.port = server.sockets[0].getsockname()[1]
    timer = asyncio.get_running_loop().call_later(limits.seconds, proxy.out_of_time)
    try:
        yield proxy
    finally:
        timer.cancel()
        server.close()
        await proxy.close()
        await server.wait_closed()
