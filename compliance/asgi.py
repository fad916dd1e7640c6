"""What the web server runs: the Django site on a few threads, behind a buffer that reads each request in full.

A thread sees a request when its head and body are there, and is done with it when its answer is in memory. So slow
clients cost a connection each, and no thread (docs/adr/0016-web-server.md).
"""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Iterable
from contextvars import ContextVar
from socket import AF_UNIX, IPPROTO_TCP, TCP_NODELAY
from tempfile import SpooledTemporaryFile
from typing import Any

from a2wsgi import WSGIMiddleware
from django.conf import settings
from uvicorn.protocols.http.h11_impl import H11Protocol

from compliance.engines.process.runner import hide_from_programs
from compliance.runners.waiting import WAIT, Waiting, preferred_wait, work_is_left
from compliance.wsgi import application as django

HEAD_SECONDS, BODY_SECONDS, ANSWER_SECONDS = 30, 120, 600
ADDRESS_BYTES, FIELD_BYTES, HEAD_BYTES, BODY_IN_MEMORY_BYTES = 4_094, 8_190, 16_384, 65_536
THREADS = int(os.environ.get("WEB_THREADS") or 4)


class Connection(asyncio.Protocol):
    """A client's connection: uvicorn's HTTP, and the clock that uvicorn has only for the time between requests."""

    current: ContextVar[Connection] = ContextVar("connection")  # inherited by the task that serves a request
    requests = 0  # that were begun on it

    def __init__(self, **options: Any) -> None:
        self.http = H11Protocol(**options)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.loop, self.transport = asyncio.get_running_loop(), transport
        self.clock = self.loop.call_later(HEAD_SECONDS, transport.abort)
        socket = transport.get_extra_info("socket")
        if socket.family != AF_UNIX:  # else each answer would wait for the acknowledgement of its head
            socket.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
        self.http.connection_made(transport)

    def allow(self, seconds: float) -> None:
        """Cut the connection after so many seconds, and not when it was said before."""
        self.clock.cancel()
        self.clock = self.loop.call_later(seconds, self.transport.abort)

    def data_received(self, data: bytes) -> None:
        self.current.set(self)
        self.http.data_received(data)

    def connection_lost(self, error: Exception | None) -> None:
        self.clock.cancel()
        self.http.connection_lost(error)

    def pause_writing(self) -> None:
        self.http.pause_writing()

    def resume_writing(self) -> None:
        self.http.resume_writing()


def site(environ: Any, start_response: Any) -> Iterable[bytes]:
    """Django, in a thread."""
    scope = environ["asgi.scope"]
    environ["wsgi.input"], environ["CONTENT_LENGTH"] = scope["body"], str(scope["body"].seek(0, os.SEEK_END))
    scope["body"].seek(0)
    environ[WAIT] = wait = scope.get(WAIT)
    answer: Iterable[bytes] = django(environ, start_response)
    if wait and wait.woken_by:
        wait.work_left = work_is_left(wait.woken_by)
    return answer


threads = WSGIMiddleware(site, workers=THREADS, send_queue_size=0)
waiting = Waiting(asked_at_once=max(1, THREADS // 2))  # the other threads are for readers of pages


async def application(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        return await live(receive, send)
    connection = Connection.current.get()
    connection.requests = number = connection.requests + 1
    connection.allow(BODY_SECONDS)
    with SpooledTemporaryFile(max_size=BODY_IN_MEMORY_BYTES) as body:
        status, more = refusal(scope), True
        while more and not status:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            more, size = message.get("more_body", False), body.tell() + body.write(message.get("body", b""))
            status = 413 if size > settings.DATA_UPLOAD_MAX_MEMORY_SIZE else 0
        connection.allow(ANSWER_SECONDS)
        if status:
            headers = [(b"connection", b"close"), (b"content-length", b"0")]
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body"})
            return None
        # A header with an underscore would pass for one with a hyphen.
        headers = [(name, value) for name, value in scope["headers"] if b"_" not in name]
        scope = {**scope, "headers": headers, "client": scope["client"] or ("", 0), "body": body}
        seconds = preferred_wait(headers)
        if seconds and body.tell() <= BODY_IN_MEMORY_BYTES:
            await waiting.answer(threads, scope, receive, send, seconds=seconds)
        else:
            await threads(scope, receive, send)
    if connection.requests == number:  # else the next one has begun, while the thread was tidying up
        connection.allow(HEAD_SECONDS)
    return None


def refusal(scope: Any) -> int:
    """The status that a request's head deserves; 0 when nothing is wrong with it."""
    sizes = [len(name) + len(value) for name, value in scope["headers"]]
    names = {name for name, _ in scope["headers"]}
    if len(scope["raw_path"]) + len(scope["query_string"]) > ADDRESS_BYTES:
        return 414
    if max(sizes, default=0) > FIELD_BYTES or sum(sizes) > HEAD_BYTES:
        return 431
    return 400 if {b"content-length", b"transfer-encoding"} <= names else 0


async def live(receive: Any, send: Any) -> None:
    """From the server's start to its end."""
    await receive()
    hide_from_programs()
    gc.collect()
    gc.freeze()  # what was loaded stays for good, and is not looked at again
    listening = asyncio.create_task(waiting.listen())
    await send({"type": "lifespan.startup.complete"})
    await receive()
    listening.cancel()
    await send({"type": "lifespan.shutdown.complete"})
