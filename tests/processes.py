"""Real processes for tests: workers, web servers and agents, each ended by whoever started it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parent.parent


def wait_for(condition: Callable[[], Any], *, seconds: float = 30, what: str = "it") -> Any:
    """The condition's first true value; fails after `seconds`. For what another process does and cannot announce."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"{what} did not happen within {seconds} s")


class Process:
    """A child in a process group of its own, whose output goes to a file that a failing test can show."""

    def __init__(self, *command: str, log: Path, env: dict[str, str] | None = None) -> None:
        self.log = log
        with log.open("ab") as output:
            self.child = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})},
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def says(self, text: str, *, seconds: float = 40) -> None:
        def said() -> bool:
            ended = self.child.poll() is not None  # looked at first: what it says last is there by then
            found = text in self.output()
            assert found or not ended, self.output()[-3000:]
            return found

        wait_for(said, seconds=seconds, what=f"{text!r} in {self.log}")

    def kill(self) -> None:
        """As the kernel does when memory runs out: nothing is tidied up."""
        os.killpg(self.child.pid, signal.SIGKILL)
        self.child.wait(10)

    def stop(self) -> None:
        if self.child.poll() is not None:
            return
        self.child.terminate()
        try:
            self.child.wait(15)
        except subprocess.TimeoutExpired:
            self.kill()


@contextmanager
def worker(log: Path, *, env: dict[str, str] | None = None) -> Iterator[Process]:
    """A Celery worker of this test's database and broker."""
    command = ("-m", "celery", "-A", "compliance.celery:app", "worker", "--pool=threads", "--concurrency=4")
    process = Process(
        sys.executable, *command, "--without-gossip", "--without-mingle", "--loglevel=info", log=log, env=env
    )
    try:
        process.says(" ready.")
        yield process
    finally:
        process.stop()


@contextmanager
def serving_demo_agents(log: Path) -> Iterator[dict[str, str]]:
    """The demo's agents in a process of their own; yields the address of each."""
    process = Process(sys.executable, "-m", "compliance.demo_agents", "--port-base", str(free_ports(16)), log=log)
    try:
        process.says("}")
        yield json.loads(process.output().strip().splitlines()[-1])
    finally:
        process.stop()


def free_ports(count: int) -> int:
    """The first of `count` free ports in a row."""
    # Below the ports that the system gives out, and apart from those of the other test processes.
    own = 20000 + 4000 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw2").removeprefix("gw"))
    for first in range(own, own + 4000, count):
        with ExitStack() as stack:
            try:
                for port in range(first, first + count):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            return first
    raise AssertionError("no free ports")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class HeldAgent:
    """An HTTP agent that holds every request until it is told to go on, and then says 500."""

    def __init__(self) -> None:
        self.asked = threading.Semaphore(0)
        self.go_on = threading.Event()
        agent = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                agent.asked.release()
                agent.go_on.wait(30)
                self.send_response(500)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_GET = do_POST

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/mcp"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def wait_until_asked(self) -> None:
        assert self.asked.acquire(timeout=30), "nobody asked the agent"

    def close(self) -> None:
        self.go_on.set()
        self.server.shutdown()
        self.server.server_close()


@contextmanager
def web(log: Path, static: Path, *, env: dict[str, str] | None = None) -> Iterator[str]:
    """The real web server with collected static files; yields its address."""
    port = free_port()
    environment = {
        **os.environ,
        **(env or {}),
        "PORT": str(port),
        "SITE_URL": f"http://localhost:{port}",
        "ALLOWED_HOSTS": "localhost,127.0.0.1",
        "STATIC_ROOT": str(static),
    }
    subprocess.run(
        [sys.executable, "manage.py", "collectstatic", "--noinput", "--verbosity=0"],
        cwd=ROOT,
        env=environment,
        check=True,
    )
    server = Process(sys.executable, "-m", "compliance.server", log=log, env=environment)
    try:
        server.says("Application startup complete")
        httpx.get(f"http://localhost:{port}/healthz", timeout=60).raise_for_status()
        yield f"http://localhost:{port}"
    finally:
        server.stop()


@contextmanager
def closed_port() -> Iterator[int]:
    """A port that nobody listens on, nor can begin to while the block runs."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]
