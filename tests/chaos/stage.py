"""What a chaos run is played with: servers, processes and the network between them, in a folder of its own.

Everything is a child of this process, listens on the loopback, and dies with it.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil

from compliance.embedded.processes import Program, tail
from tests.chaos.relay import Books, Pipe, Relay
from tests.processes import ROOT, free_port
from tests.servers import Services, services

LEASE_SECONDS = 4
MAX_ATTEMPTS = 2
OFFLINE_AFTER_SECONDS = 8
CLOCK_OFF_SECONDS = 3600
LAST_ASKED = "/.well-known/agent.json"  # what a test asks last of an agent that only ever says 500
# They cost little, and keep many leases in hand at once.
SLOW_AGENTS = {
    "slow": (0.5, 4.0, 1.0, 6.0, 2.5),
    "slower": (3.0, 5.0, 1.0),
    "slowest": (6.0, 4.0, 5.0),
}
SHIFTED = Path(__file__).parent / "shifted"
RUNNERS = ("one", "two", "three")
OFF_CLOCK = "two"  # whose clock is an hour ahead
BAD_NETWORK = "three"  # whose network is cut most


class SlowAgent:
    """An HTTP agent that takes its time for the first answer of a test, and says 500 to all.

    The seconds repeat in a fixed order. before_answer: called with the port of who asked, before the last answer.
    """

    def __init__(self, *seconds: float, before_answer: Callable[[int], None]) -> None:
        pauses, lock = itertools.cycle(seconds), threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if b'"initialize"' in body:
                    with lock:
                        pause = next(pauses)
                    time.sleep(pause)
                if self.path == LAST_ASKED:
                    before_answer(self.client_address[1])
                with suppress(OSError):
                    self.send_response(500)
                    self.send_header("Content-Length", "0")
                    self.end_headers()

            do_GET = do_POST

            def log_message(self, *args: Any) -> None:
                pass

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # who asked was killed

        self.server = Quiet(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/mcp"
        threading.Thread(target=self.server.serve_forever, daemon=True, name="slow-agent").start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@dataclass
class Player:
    """One process that may be killed, stopped and started anew."""

    name: str
    program: Program
    starts: int = 0
    back_at: float | None = None  # when a killed one is to be started again
    wake_at: float | None = None  # when a stopped one is to go on
    ended_by_itself: list[str] = field(default_factory=list)

    @property
    def kind(self) -> str:
        return self.name.split("-")[0]

    @property
    def is_up(self) -> bool:
        return self.back_at is None and self.wake_at is None and self.program.process is not None

    def start(self) -> None:
        self.back_at = self.wake_at = None
        self.starts += 1
        self.program.start()

    def kill(self, *, back_after: float) -> None:
        self.program.kill()
        self.wake_at, self.back_at = None, time.monotonic() + back_after

    def freeze(self, seconds: float) -> None:
        self._signal(signal.SIGSTOP)
        self.wake_at = time.monotonic() + seconds

    def wake(self) -> None:
        self.wake_at = None
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self.program.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.program.process.pid, number)

    def tend(self, now: float) -> None:
        """Do what is due to it: go on, be started again, or be found dead."""
        if self.wake_at is not None and now >= self.wake_at:
            self.wake()
        if self.back_at is not None and now >= self.back_at:
            self.start()
        status = self.program.poll()
        if status is not None and self.back_at is None:
            self.ended_by_itself.append(f"{self.name} ended by itself ({status}):\n{tail(self.program.log, 8)}")
            self.kill(back_after=1.0)


@dataclass
class Stage:
    folder: Path
    services: Services
    environment: dict[str, str]
    agents: dict[str, str]
    books: Books = field(default_factory=Books)
    players: dict[str, Player] = field(default_factory=dict)
    relays: dict[str, Relay] = field(default_factory=dict)
    pipes: dict[str, Pipe] = field(default_factory=dict)
    stall_at_answer: float = 0.0  # for so long, the way to the database of the worker that is answered next
    counts: Counter[str] = field(default_factory=Counter)
    redis_back_at: float | None = None

    def log(self, name: str) -> Path:
        return self.folder / "log" / f"{name}.log"

    def state_folder(self, runner: str) -> Path:
        return self.folder / "runners" / runner

    def of_kind(self, *kinds: str) -> list[Player]:
        return [player for player in self.players.values() if player.kind in kinds]

    def add(self, name: str, *command: str, grace: float = 10.0, pipe: Pipe | None = None, **more: str) -> None:
        """A process of this name; each of its lives has a name of its own in the database. pipe: its way there."""

        def environment() -> dict[str, str]:
            url = self.environment["DATABASE_URL"]
            if pipe is not None:
                url = url.replace(f":{pipe.target}/", f":{pipe.port}/")
            return {**self.environment, "DATABASE_URL": f"{url}?application_name={name}.{player.starts}", **more}

        player = Player(name, Program(name, (sys.executable, *command), self.log(name), environment, ROOT, grace=grace))
        self.players[name] = player

    def answering(self, port: int) -> None:
        """An agent is about to answer whoever asked from this port: a hosted test is about to end."""
        seconds = self.stall_at_answer
        if not seconds:
            return
        for name, pipe in self.pipes.items():
            process = self.players[name].program.process
            with suppress(psutil.Error):
                if process and any(
                    one.laddr and one.laddr.port == port for one in psutil.Process(process.pid).net_connections()
                ):
                    self.stall_at_answer = 0.0
                    self.counts["results that met a stalled way to the database"] += 1
                    pipe.stall(seconds)

    def tend(self) -> None:
        now = time.monotonic()
        if self.redis_back_at is not None and now >= self.redis_back_at:
            self.redis_back_at = None
            self.services.redis.start()
        for player in self.players.values():
            player.tend(now)

    def ended_by_themselves(self) -> list[str]:
        return [words for player in self.players.values() for words in player.ended_by_itself]

    def manage(self, *arguments: str) -> None:
        subprocess.run([sys.executable, "manage.py", *arguments], cwd=ROOT, env=self.environment, check=True)

    def stop_everything(self, *kinds: str) -> None:
        for player in self.of_kind(*kinds) if kinds else list(self.players.values()):
            player.wake()
            player.program.stop()


@contextmanager
def set_up(folder: Path) -> Iterator[Stage]:
    """Servers with an empty, migrated database, agents, and the players, of which none has been started yet."""
    with ExitStack() as stack:
        running = stack.enter_context(services(folder / "data", durable=True, keep=False, shared_buffers="64MB"))
        own = {key: value for key, value in os.environ.items() if not key.startswith(("ASSAY_", "PYTEST", "TEST_"))}
        environment = {**own, **running.environment(), **_SETTINGS, "PYTHONPATH": str(ROOT)}
        stage = Stage(folder, running, environment, {})
        for name, seconds in SLOW_AGENTS.items():
            slow = SlowAgent(*seconds, before_answer=stage.answering)
            stack.callback(slow.close)
            stage.agents[name] = slow.url
        stack.callback(stage.stop_everything)
        stage.manage("migrate", "--verbosity=0")
        stage.manage("publish_suites", "--verbosity=0")
        stage.agents |= _demo_agents(stage)
        celery = ("-m", "celery", "-A", "compliance.celery:app")
        for number in (1, 2):
            assert running.postgres.port is not None
            pipe = Pipe(f"hosted-{number}", running.postgres.port)
            stage.pipes[f"hosted-{number}"] = pipe
            stack.callback(pipe.close)
            stage.add(
                f"hosted-{number}",
                *(*celery, "worker", "--pool=threads", "--concurrency=12", f"--hostname=hosted-{number}@%h"),
                *("--without-gossip", "--without-mingle", "--loglevel=warning"),
                pipe=pipe,
            )
            stage.add(f"beat-{number}", *celery, "beat", f"--schedule={folder}/beat-{number}", "--pidfile=")
        ports = [free_port(), free_port()]
        for number, port in enumerate(ports, 1):
            stage.add(
                f"web-{number}",
                *("-m", "compliance.server"),
                PORT=str(port),
                WEB_CONCURRENCY="1",
            )
        for name in RUNNERS:
            relay = stage.relays[name] = Relay(name, ports if name == RUNNERS[0] else ports[::-1], stage.books)
            stack.callback(relay.close)
        yield stage


def add_runners(stage: Stage, tokens: dict[str, str]) -> None:
    """The runner programs, each with its token, its folder, its relay, and maybe its own idea of the time."""
    for name, token in tokens.items():
        file = stage.folder / f"{name}.token"
        file.write_text(token)
        file.chmod(0o600)
        off = {"CLOCK_OFF_SECONDS": str(CLOCK_OFF_SECONDS), "PYTHONPATH": f"{SHIFTED}{os.pathsep}{ROOT}"}
        stage.add(
            f"runner-{name}",
            *("-m", "compliance.runners.program", "--url", f"http://127.0.0.1:{stage.relays[name].port}"),
            *("--token-file", str(file), "--state-dir", str(stage.state_folder(name))),
            *("--allow", "127.0.0.1", "--concurrency", "5", "--engine-memory", "512", "--grace", "5"),
            grace=30.0,
            **(off if name == OFF_CLOCK else {}),
        )


def start_everything(stage: Stage) -> None:
    for player in stage.players.values():
        if player.program.process is None:
            player.start()
    for player in stage.of_kind("web"):
        _wait_for_port(int(player.program.environment()["PORT"]))
    for relay in stage.relays.values():
        _wait_for_port(relay.port)


def _wait_for_port(port: int) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.1)
    raise AssertionError(f"nothing listens on {port}")


def _demo_agents(stage: Stage) -> dict[str, str]:
    stage.add("agents", "-m", "compliance.demo_agents")
    player = stage.players["agents"]
    player.start()
    deadline = time.monotonic() + 120
    while not (lines := [line for line in player.program.output().splitlines() if line.startswith("{")]):
        assert player.program.poll() is None, player.program.output()
        assert time.monotonic() < deadline, "the demo agents do not start"
        time.sleep(0.1)
    found: dict[str, str] = json.loads(lines[-1])
    return found


_SETTINGS = {
    "DJANGO_SETTINGS_MODULE": "tests.chaos.settings",
    "PYTHONUNBUFFERED": "1",
    "SECRET_KEY": "only-for-a-chaos-run-" + "0123456789" * 5,
    "ASSAY_VAULT_KEYS": "dGVzdHMtb25seS10ZXN0cy1vbmx5LXRlc3RzLW9ubHk",
    "SITE_URL": "http://127.0.0.1",
    "ALLOWED_HOSTS": "127.0.0.1,localhost",
    "ACCOUNT_EMAIL_VERIFICATION": "optional",
    "LOG_LEVEL": "WARNING",
    "ASSAY_EGRESS_ALLOW": "127.0.0.0/8,localhost",
    "ASSAY_LEASE_SECONDS": str(LEASE_SECONDS),
    "ASSAY_JOB_MAX_ATTEMPTS": str(MAX_ATTEMPTS),
    "ASSAY_JOB_REDISPATCH_AFTER_SECONDS": "2",
    "ASSAY_STEP_TIMEOUT_SECONDS": "8",
    "ASSAY_TEST_DEADLINE_SECONDS": "30",
    "ASSAY_RUNNER_OFFLINE_AFTER_SECONDS": str(OFFLINE_AFTER_SECONDS),
    "ASSAY_RUNNER_NOTIFY_OFFLINE_AFTER_SECONDS": "10",
    "ASSAY_RUNNER_DEFER_MIN_SECONDS": "2",
    "ASSAY_RUNNER_DEFER_MAX_SECONDS": "8",
    "ASSAY_RUNNER_WAIT_MAX_SECONDS": "4",
    "ASSAY_RUNNER_WAIT_SCAN_SECONDS": "2",
    "ASSAY_MONITOR_MIN_INTERVAL_MINUTES": "1",
    "ASSAY_MONITOR_COOLDOWN_SECONDS": "1",
    "ASSAY_MONITOR_AGENT_CONCURRENCY": "2",
    "ASSAY_MONITOR_ORGANIZATION_CONCURRENCY": "12",
    "ASSAY_TICK_DEAD_AFTER_SECONDS": "60",
    "ASSAY_WORKER_ENGINE_MEMORY_MB": "1024",
}
