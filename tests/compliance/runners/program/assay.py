"""A server of the runners' contract for tests, in a thread: fenced leases, one run for each, and faults on demand."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from compliance.engines.reports.validation import BadReport, from_json
from tests.compliance.engines.servers import serving
from tests.processes import wait_for

TOKEN = "asr_test0001_" + "k" * 43


class Loop:
    """An event loop in a thread, for servers that a test's other processes talk to."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.stack = AsyncExitStack()

    def run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    def enter(self, context: Any) -> Any:
        return self.run(self.stack.enter_async_context(context))

    def close(self) -> None:
        self.run(self.stack.aclose())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()


@dataclass
class Work:
    lease: dict[str, Any]
    state: str = "queued"
    token: str = ""
    ends: list[dict[str, Any]] = field(default_factory=list)  # accepted bodies of complete and fail
    releases: int = 0
    attempt: int = 0
    renewals: int = 0

    @property
    def run(self) -> dict[str, Any]:
        assert len(self.ends) == 1, self.ends
        return self.ends[0]


def problem(status: int, kind: str, detail: str = "") -> Response:
    body = {"type": f"/problems/{kind}", "title": kind, "status": status, "detail": detail}
    return JSONResponse(body, status, media_type="application/problem+json")


def _listening(port: int) -> socket.socket:
    """A socket whose port can be had again at once, as a server that is started anew needs it."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", port))
    return sock


Fault = Callable[[Request, dict[str, Any]], Awaitable[Response | None]]


class Assay:
    """state changes on its own loop; a test reads them from its thread, and waits with `until`."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.work: dict[str, Work] = {}
        self.calls: list[tuple[str, dict[str, Any], dict[str, str]]] = []
        self.faults: dict[str, list[Fault]] = {}  # by the call's name; each serves once, in front of the real answer
        self.after: dict[str, list[Fault]] = {}  # the same, behind it: what was done is done
        self.token = TOKEN
        self.lease_seconds: float = 45
        self.poll_after_seconds: float = 0.2
        self.clock_ahead = timedelta()
        self.released: dict[str, Any] | None = None
        self.most_at_once = 0
        self.socket = _listening(0)
        self.port = self.socket.getsockname()[1]
        self._new = asyncio.Event()
        self._running: Any = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, **config: Any) -> None:
        if self._running is not None:
            return
        if self.socket.fileno() < 0:
            self.socket = _listening(self.port)
        self._running = serving(self.app(), self.socket, **config)
        self.loop.run(self._running.__aenter__())

    def stop(self) -> None:
        """As a server goes that is started anew: what was asked of it breaks off."""
        if self._running is not None:
            self.loop.run(self._running.__aexit__(None, None, None))
            self._running = None

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/api/v1/runner/{call:str}", self._answer, methods=["POST"]),
                Route("/api/v1/runner/jobs/{id:str}/{call:str}", self._answer, methods=["POST"]),
            ]
        )

    def add(self, url: str, **changes: Any) -> Work:
        job_id = str(uuid.uuid4())
        lease = {
            "job_id": job_id,
            "run_id": str(uuid.uuid4()),
            "agent_url": url,
            "protocol": "mcp",
            "engine": "baseline",
            "suite": "baseline",
            "suite_version": "1",
            "options": {},
            "all_evidence": False,
            "deadline_seconds": 60,
            "step_seconds": 10,
            "credential": None,
            "from_a_newer_server": True,
        } | changes
        work = self.work[job_id] = Work(lease)
        self.loop.loop.call_soon_threadsafe(self._new.set)
        return work

    def fault(self, call: str, *faults: Fault, after: bool = False) -> None:
        (self.after if after else self.faults).setdefault(call, []).extend(faults)

    def said(self, call: str) -> list[dict[str, Any]]:
        return [body for name, body, _ in list(self.calls) if name == call]

    def until(self, condition: Callable[[], Any], what: str = "it", seconds: float = 30) -> Any:
        return wait_for(condition, seconds=seconds, what=what)

    async def _answer(self, request: Request) -> Response:
        call, body = request.path_params["call"], json.loads(await request.body())
        self.calls.append((call, body, dict(request.headers)))
        if faults := self.faults.get(call):
            answer = await faults.pop(0)(request, body)
            if answer is not None:
                return answer
        if request.headers.get("authorization") != f"Bearer {self.token}":
            return problem(401, "unauthorized", "The token is unknown.")
        answer = await getattr(self, f"_{call}")(request, body)
        if after := self.after.get(call):
            return await after.pop(0)(request, body) or answer
        return answer

    async def _poll(self, request: Request, body: dict[str, Any]) -> Response:
        wait = float(request.headers.get("prefer", "wait=0").removeprefix("wait="))
        leases = self._lease(body["at_most"])
        if not leases and wait:
            self._new.clear()
            watching = asyncio.create_task(self._new.wait())
            gone = asyncio.create_task(request.receive())
            try:
                await asyncio.wait([watching, gone], timeout=wait, return_when=asyncio.FIRST_COMPLETED)
            finally:
                watching.cancel()
                gone.cancel()
                await asyncio.gather(watching, gone, return_exceptions=True)
            if not gone.cancelled():
                return Response(status_code=499)
            leases = self._lease(body["at_most"])
        now = datetime.now(UTC) + self.clock_ahead
        return JSONResponse(
            {
                "leases": leases,
                "lease_seconds": self.lease_seconds,
                "poll_after_seconds": self.poll_after_seconds,
                "server_time": now.isoformat().replace("+00:00", "Z"),
                "runner": {"id": str(uuid.uuid4()), "name": "Cellar", "pool": ""},
            }
        )

    def _lease(self, at_most: int) -> list[dict[str, Any]]:
        leases = []
        for work in list(self.work.values()):
            if work.state == "queued" and len(leases) < at_most:
                work.state, work.token, work.attempt = "leased", str(uuid.uuid4()), work.attempt + 1
                leases.append(work.lease | {"token": work.token, "attempt": work.attempt})
        self.most_at_once = max(self.most_at_once, sum(work.state == "leased" for work in self.work.values()))
        return leases

    async def _renew(self, request: Request, body: dict[str, Any]) -> Response:
        lost = []
        for lease in body["leases"]:
            work = self.work[lease["job_id"]]
            if work.state == "leased" and work.token == lease["token"]:
                work.renewals += 1
            else:
                lost.append({"job_id": lease["job_id"], "reason": "It was cancelled."})
        gone = {part["job_id"] for part in lost}
        held = [lease["job_id"] for lease in body["leases"] if lease["job_id"] not in gone]
        return JSONResponse({"held": held, "lost": lost, "lease_seconds": self.lease_seconds})

    async def _complete(self, request: Request, body: dict[str, Any]) -> Response:
        return self._end(request, body)

    async def _fail(self, request: Request, body: dict[str, Any]) -> Response:
        return self._end(request, body)

    def _end(self, request: Request, body: dict[str, Any]) -> Response:
        work = self.work.get(request.path_params["id"])
        if work is None:
            return problem(404, "not-found")
        if work.token != body["token"] or work.state not in ("leased", "ended"):
            return problem(409, "lease-lost", "It came too late, and was discarded.")
        if work.state == "leased":
            work.state = "ended"
            work.ends.append(body)
            if "report" in body:
                try:
                    work.lease["overall"] = from_json(body["report"]).overall().value
                except BadReport as bad:
                    return problem(400, "bad-report", str(bad))
        overall = work.lease.get("overall", "inconclusive")
        return JSONResponse({"run_id": work.lease["run_id"], "overall_status": overall, "url": f"{self.url}/run"})

    async def _release(self, request: Request, body: dict[str, Any]) -> Response:
        work = self.work[request.path_params["id"]]
        if work.state != "leased" or work.token != body["token"]:
            return problem(409, "lease-lost", "It is not yours.")
        work.state, work.token, work.releases = "queued", "", work.releases + 1
        return JSONResponse({"state": "queued"})

    async def _credential(self, request: Request, body: dict[str, Any]) -> Response:
        if self.released is None:
            return problem(403, "not-released", "The grant has ended.")
        return JSONResponse(self.released)


@contextmanager
def loop() -> Iterator[Loop]:
    made = Loop()
    try:
        yield made
    finally:
        made.close()
