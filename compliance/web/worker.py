"""gunicorn's threaded worker, with a waiting room.

Everything is served by threads as ever. A request with `Prefer: wait=N` whose answer carries `Assay-Wait-For` gives its
thread back: its connection is watched by the main loop, as idle connections are, until one of its keys comes. Then
a thread asks the application again. See docs/adr/0014-waiting-room.md.

The main loop alone touches the room; threads get a `Held` and return it, or whether the connection stays open.
"""

from __future__ import annotations

import errno
import resource
import selectors
import socket
import struct
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from datetime import timedelta
from functools import partial
from typing import Any

from gunicorn.http import wsgi
from gunicorn.workers.gthread import ThreadWorker

from compliance.web.asking import (
    WAITED,
    Answer,
    Application,
    ask,
    never_telling_keys,
    preferred_wait,
    short_body_length,
)
from compliance.web.room import Round, Waiter, WaitingRoom

_OTHER_FILES = 256  # descriptors beside the connections: databases, Redis, logs, static files


class Held(Waiter):
    """A request that waits, with its connection and the answer that it gets if nothing comes."""

    def __init__(
        self, request: Any, response: Any, environ: dict[str, Any], connection: Any, *, answer: Answer, body: bytes
    ) -> None:
        super().__init__(answer.keys, asked_at=answer.made_at, deadline=answer.made_at)
        self.request = request
        self.response = response
        self.environ = environ
        self.connection = connection
        self.body = body
        self.answer = answer
        self.began_at = answer.made_at
        self.watched = False


class WaitingWorker(ThreadWorker):
    alive: bool
    wsgi: Application

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._room: WaitingRoom[Held] = WaitingRoom()
        self._called: deque[Held] = deque()
        self._being_asked = 0
        # Half of the threads, so that readers of pages are served while a thousand runners are asked.
        self._asked_at_once = max(1, self.cfg.threads // 2)
        self._closed = False

    def init_process(self) -> None:
        # Connections have these from their listener. Without them a client that is cut off in the midst of its body
        # keeps a thread for ever; in the waiting room they do not count, because nobody reads there.
        seconds = struct.pack("@ll", self.cfg.timeout, 0)
        for listener in self.sockets:
            listener.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, seconds)
            listener.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, seconds)
        super().init_process()

    def load_wsgi(self) -> None:
        super().load_wsgi()
        from django.conf import settings  # only now: the application says which, and gunicorn's own process has none

        from compliance.web.listener import Listener, work_is_left

        self._application = self.wsgi
        self.wsgi = never_telling_keys(self._application)
        self._work_is_left: Callable[[str], bool] = work_is_left
        self._wait_most_seconds = settings.RUNNER_WAIT_MOST_SECONDS
        self._held_most = self._places(settings.RUNNER_WAIT_MAX_POLLS)
        self.worker_connections += self._held_most
        self._listener = Listener(
            on_keys=lambda keys: self.method_queue.defer(self._wake, keys),
            waited_for=lambda: self._room.keys(),
            look_seconds=settings.RUNNER_WAIT_SCAN_SECONDS,
        )

    def _places(self, wanted: int) -> int:
        """How many requests can be held with as many files as the system lets us open."""
        others = self.worker_connections + _OTHER_FILES
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != resource.RLIM_INFINITY and soft < others + wanted:
            soft = others + wanted if hard == resource.RLIM_INFINITY else min(others + wanted, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            if soft < others + wanted:
                wanted = max(0, soft - others)
                self.log.warning("The limit of %s open files leaves room for %s waiting requests", soft, wanted)
        return wanted

    def run(self) -> None:
        if self._held_most:
            self._listener.start()
        super().run()

    # In a thread

    def handle_request(self, req: Any, conn: Any) -> Any:
        wait = min(preferred_wait(req.headers), self._wait_most_seconds)
        length = short_body_length(req.headers) if wait else None
        if length is None or self.cfg.is_ssl:
            return super().handle_request(req, conn)
        self.cfg.pre_request(self, req)
        response, environ = wsgi.create(req, conn.sock, conn.client, conn.server, self.cfg)
        environ["wsgi.multithread"] = True
        body = req.body.read(length)
        if len(body) < length:
            return False  # gone before everything was said
        self._count()
        held = Held(req, response, environ, conn, answer=ask(self._application, environ, body), body=body)
        held.deadline += wait
        return held if held.keys else self._reply(held)

    def _keepalive_after(self, conn: Any, keepalive: Any) -> Any:
        return keepalive if isinstance(keepalive, Held) else super()._keepalive_after(conn, keepalive)

    def _count(self) -> None:
        self.nr += 1
        if self.nr >= self.max_requests and self.alive:
            self.log.info("Autorestarting worker after current request.")
            self.alive = False

    def _ask_again(self, held: Held) -> Held | bool:
        environ = {**held.environ, WAITED: time.monotonic() - held.began_at}
        answer = ask(self._application, environ, held.body)
        held.answer, held.keys, held.asked_at = answer, answer.keys, answer.made_at
        if held.keys and self.alive and time.monotonic() < held.deadline:
            return held
        return self._reply(held)

    def _reply(self, held: Held) -> bool:
        """Send what the held request has; whether the connection stays open."""
        response, answer, now = held.response, held.answer, time.monotonic()
        held.connection.sock.setblocking(True)
        if not self.alive or not self.cfg.keepalive or len(self.keepalived_conns) >= self.max_keepalived:
            response.force_close()
        # How old it is, so that nobody takes a time in it for the present.
        age = [("Age", str(int(now - answer.made_at)))] if now - answer.made_at >= 1 else []
        response.start_response(answer.status, answer.headers + age)
        response.write(answer.body)
        response.close()
        self.log.access(response, held.request, held.environ, timedelta(seconds=now - held.began_at))
        self.cfg.post_request(self, held.request, held.environ, response)
        return bool(self._keepalive_after(held.connection, not response.should_close()))

    def _guarded(self, work: Callable[[Held], Held | bool], held: Held) -> Held | bool:
        """As ThreadWorker.handle guards the first time that a request is served."""
        try:
            return work(held)
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN):
                self.log.exception("Socket error processing request.")
        except Exception as error:  # noqa: BLE001 - logged, and answered with 500
            self.handle_error(held.request, held.connection.sock, held.connection.client, error)
        return False

    # In the main loop

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        now = time.monotonic()
        if not self.alive:
            self._close_room()
        for held in self._room.expired(now):
            self._send_reply(held)
        deadline = self._room.next_deadline()
        super().wait_for_and_dispatch_events(timeout if deadline is None else max(0.0, min(timeout, deadline - now)))

    def finish_request(self, conn: Any, fs: Future[Any]) -> None:
        result = None if fs.cancelled() or fs.exception() else fs.result()
        if isinstance(result, Held):
            self._hold(result)
        else:
            super().finish_request(conn, fs)

    def _hold(self, held: Held) -> None:
        if not self.alive or held.deadline <= time.monotonic() or len(self._room) >= self._held_most:
            self._send_reply(held)
            return
        held.connection.sock.setblocking(False)
        self.poller.register(held.connection.sock, selectors.EVENT_READ, partial(self._on_readable, held))
        held.watched = True
        if not self._room.enter(held):
            self._call(held)

    def _on_readable(self, held: Held, sock: socket.socket) -> None:
        try:
            said = sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return
        except OSError:
            said = b""
        self._unwatch(held)
        if said:
            return  # the next request, sent before this one was answered: read in its turn
        if not self._room.leave(held):
            self._called.remove(held)
        self._close(held)
        round_, held.round = held.round, None
        self._go_on_with(round_)

    def _unwatch(self, held: Held) -> None:
        if held.watched:
            held.watched = False
            self.poller.unregister(held.connection.sock)

    def _wake(self, keys: list[str]) -> None:
        for key in keys:
            held = self._room.wake(key, now=time.monotonic())
            if held is not None:
                self._call(held)

    def _call(self, held: Held) -> None:
        self._called.append(held)
        self._ask_called()

    def _ask_called(self) -> None:
        while self._called and self._being_asked < self._asked_at_once:
            held = self._called.popleft()
            self._unwatch(held)
            self._being_asked += 1
            self._submit(held, self._ask_again, self._on_asked)

    def _on_asked(self, held: Held, future: Future[Held | bool]) -> None:
        self._being_asked -= 1
        round_, held.round = held.round, None
        if isinstance(_outcome(future), Held):
            self._hold(held)
        else:
            self._on_replied(held, future)
        self._go_on_with(round_)
        self._ask_called()

    def _go_on_with(self, round_: Round[Held] | None) -> None:
        """Ask the next one, if one notification stood for more work than the last one took, or could take."""
        if round_ is not None and self.alive and self._room.has_next(round_):
            future = self.tpool.submit(self._work_is_left, round_.key)
            future.add_done_callback(lambda looked: self.method_queue.defer(self._on_looked, round_, looked))

    def _on_looked(self, round_: Round[Held], looked: Future[bool]) -> None:
        error = looked.exception()
        if error is not None:
            self.log.warning(
                "Whether work is left for those who wait was not to be found out: %s", type(error).__name__
            )
        elif looked.result():
            held = self._room.next_of(round_)
            if held is not None:
                self._call(held)

    def _send_reply(self, held: Held) -> None:
        self._unwatch(held)
        self._submit(held, self._reply, self._on_replied)

    def _on_replied(self, held: Held, future: Future[Held | bool]) -> None:
        if _outcome(future):
            super().finish_request(held.connection, future)
        else:
            self._close(held)

    def _close(self, held: Held) -> None:
        """Without lingering: all that the client sent was read, and the main loop has others to look after."""
        self.nr_conns -= 1
        held.connection.close()

    def _submit(
        self,
        held: Held,
        work: Callable[[Held], Held | bool],
        done: Callable[[Held, Future[Held | bool]], None],
    ) -> None:
        future = self.tpool.submit(self._guarded, work, held)
        future.add_done_callback(lambda ended: self.method_queue.defer(done, held, ended))

    def _close_room(self) -> None:
        """This worker ends: everybody gets at once what they have, and comes back to another one."""
        if self._closed:
            return
        self._closed = True
        self._listener.stop()
        for held in (*self._called, *self._room.everybody()):
            self._send_reply(held)
        self._called.clear()


def _outcome(future: Future[Held | bool]) -> Held | bool:
    return False if future.cancelled() or future.exception() else future.result()
