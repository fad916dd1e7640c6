"""The network of a chaos run, on the loopback, which can be disturbed.

Between a private runner and the web servers it also keeps the books of what passed: which leases a runner was given,
and which of its answers the server took.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import h11

LARGEST = 65_536


@dataclass(frozen=True)
class Leased:
    """A lease that the server gave to a runner, whether the answer arrived or not."""

    runner: str
    job_id: str
    token: str


@dataclass(frozen=True)
class Answered:
    """What the server said to a runner's complete, fail or release, whether it arrived or not."""

    runner: str
    call: str
    job_id: str
    token: str
    status: int
    run_id: str


@dataclass
class Books:
    leased: list[Leased] = field(default_factory=list)
    answered: list[Answered] = field(default_factory=list)


class _Cut(Exception):
    """The connection is to be cut now."""


class Listener:
    """Listens on a port of the loopback, on a thread and an event loop of its own."""

    def __init__(self, name: str) -> None:
        self.port = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        ready = threading.Event()
        threading.Thread(target=self._serve, args=(ready,), daemon=True, name=name).start()
        ready.wait(10)

    def cut(self) -> None:
        """Cut every connection that there is."""
        asyncio.run_coroutine_threadsafe(self._abort_all(), self._loop).result(10)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)

    async def _abort_all(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    def _serve(self, ready: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)

        async def listen() -> None:
            server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
            self.port = server.sockets[0].getsockname()[1]
            ready.set()

        self._loop.run_until_complete(listen())
        self._loop.run_forever()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise NotImplementedError


class Pipe(Listener):
    """The network between a hosted worker and the database: bytes as they come, unless it stalls or is cut."""

    def __init__(self, name: str, target: int) -> None:
        self.target = target
        self._stalled_until = 0.0
        super().__init__(f"pipe-{name}")

    def stall(self, seconds: float) -> None:
        """Hold back everything for so long, both ways; it arrives afterwards."""
        self._stalled_until = time.monotonic() + seconds

    def heal(self) -> None:
        self._stalled_until = 0.0

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        both = {writer, far_writer}
        self._writers |= both
        try:
            await asyncio.gather(self._pour(reader, far_writer), self._pour(far_reader, writer))
        finally:
            self._writers -= both
            for one in both:
                one.transport.abort()

    async def _pour(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(LARGEST):
                while time.monotonic() < self._stalled_until:
                    await asyncio.sleep(0.05)
                writer.write(data)
                await writer.drain()
        writer.close()


class Relay(Listener):
    """The network between a runner and the web servers. The methods below may be called from any thread."""

    def __init__(self, runner: str, targets: list[int], books: Books) -> None:
        self.runner = runner
        self.targets = itertools.cycle(targets)
        self.books = books
        self.lost_answers = 0
        self._black_until = self._slow_until = self._stalled_until = 0.0
        self._lose = 0
        super().__init__(f"relay-{runner}")

    # Disturbing

    def blackhole(self, seconds: float) -> None:
        """Swallow everything for so long, then cut what hangs."""
        self._black_until = time.monotonic() + seconds

    def delay(self, seconds: float) -> None:
        """Hold each request back for a second or so, for so long."""
        self._slow_until = time.monotonic() + seconds

    def stall(self, seconds: float) -> None:
        """Hold every request back for so long, and pass it on then: results that come too late."""
        self._stalled_until = time.monotonic() + seconds

    def lose_next_answers(self, count: int) -> None:
        """Cut the connection of the next results once the server has them, and before its answer is passed on."""
        self._lose = count

    def heal(self) -> None:
        self._black_until = self._slow_until = self._stalled_until = 0.0
        self._lose = 0

    # Passing on

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        client = h11.Connection(h11.SERVER)
        try:
            while await self._pass_on(client, reader, writer):
                client.start_next_cycle()
        except (_Cut, OSError, h11.ProtocolError, asyncio.IncompleteReadError):
            writer.transport.abort()
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _pass_on(
        self, client: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """One request and its answer; False when the client has gone."""
        got = await _message(client, reader)
        if got is None:
            return False
        head, body = got
        assert isinstance(head, h11.Request)
        await self._weather()
        status, headers, answer = await self._ask(head, body)
        call = head.target.decode().removeprefix("/api/v1/runner/")
        self._write_down(call, body, status, answer)
        if status == 200 and call.endswith("/complete") and self._lose > 0:
            self._lose -= 1
            self.lost_answers += 1
            raise _Cut
        if time.monotonic() < self._black_until:
            await self._weather()
        kept = [(name, value) for name, value in headers if name not in (b"transfer-encoding", b"connection")]
        if not any(name == b"content-length" for name, _ in kept):
            kept.append((b"content-length", str(len(answer)).encode()))
        for event in (h11.Response(status_code=status, headers=kept), h11.Data(data=answer), h11.EndOfMessage()):
            writer.write(client.send(event) or b"")
        await writer.drain()
        return client.our_state is h11.DONE and client.their_state is h11.DONE

    async def _weather(self) -> None:
        if time.monotonic() < self._black_until:
            while time.monotonic() < self._black_until:
                await asyncio.sleep(0.1)
            raise _Cut
        while time.monotonic() < self._stalled_until:
            await asyncio.sleep(0.05)
        if time.monotonic() < self._slow_until:
            await asyncio.sleep(1.2)

    async def _ask(self, head: h11.Request, body: bytes) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        reader, writer = await asyncio.open_connection("127.0.0.1", next(self.targets))
        try:
            server = h11.Connection(h11.CLIENT)
            headers = [(name, value) for name, value in head.headers if name != b"connection"]
            events = (
                h11.Request(method=head.method, target=head.target, headers=[*headers, (b"connection", b"close")]),
                h11.Data(data=body),
                h11.EndOfMessage(),
            )
            for event in events:
                writer.write(server.send(event) or b"")
            await writer.drain()
            got = await _message(server, reader)
            if got is None:
                raise _Cut
            answer = got[0]
            assert isinstance(answer, h11.Response)
            return answer.status_code, list(answer.headers), got[1]
        finally:
            writer.close()

    def _write_down(self, call: str, body: bytes, status: int, answer: bytes) -> None:
        if call == "renew" or status >= 500:
            return
        said: Any = None
        with suppress(ValueError):
            said = json.loads(answer)
        if call == "poll":
            for lease in (said or {}).get("leases", []) if status == 200 else []:
                self.books.leased.append(Leased(self.runner, lease["job_id"], lease["token"]))
            return
        parts = call.split("/")
        if len(parts) == 3 and parts[2] in ("complete", "fail", "release"):
            token = json.loads(body)["token"]
            run_id = str((said or {}).get("run_id") or "")
            self.books.answered.append(Answered(self.runner, parts[2], parts[1], token, status, run_id))


async def _message(
    side: h11.Connection, reader: asyncio.StreamReader
) -> tuple[h11.Request | h11.Response, bytes] | None:
    """The next whole message with its body; None when the other side has closed before one began."""
    head: h11.Request | h11.Response | None = None
    parts: list[bytes] = []
    while True:
        event = side.next_event()
        if event is h11.NEED_DATA:
            data = await reader.read(LARGEST)
            if not data and head is None:
                return None
            side.receive_data(data)
        elif isinstance(event, h11.Request | h11.Response):
            head = event
        elif isinstance(event, h11.Data):
            parts.append(bytes(event.data))
        elif isinstance(event, h11.EndOfMessage):
            assert head is not None
            return head, b"".join(parts)
        elif isinstance(event, h11.ConnectionClosed) or event is h11.PAUSED:
            return None
