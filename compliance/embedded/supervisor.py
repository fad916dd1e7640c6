"""Runs a plan: servers, steps and programs in order, then watches over what stays, and stops it in reverse order."""

import os
import selectors
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from compliance.embedded.errors import EmbeddedError
from compliance.embedded.processes import ChildRecord, spawn, stop, tail
from compliance.embedded.programs import Program, Runnable, Step

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(BaseException):
    """Somebody asked for the end. Not an Exception: nothing on the way may take it for a failure."""


@dataclass(frozen=True)
class Patience:
    """How often a program that dies is started again before the supervisor gives up."""

    restarts: int = 5
    within: float = 120.0
    first_pause: float = 1.0
    longest_pause: float = 30.0

    def pause(self, failures: int) -> float:
        return min(self.first_pause * 2.0 ** (failures - 1), self.longest_pause)


@dataclass
class Watched:
    runnable: Runnable
    deaths: deque[float] = field(default_factory=deque)
    start_again_at: float | None = None


class Supervisor:
    def __init__(self, data_dir: Path, *, patience: Patience | None = None) -> None:
        self.children = ChildRecord(data_dir / "children.json")
        self.patience = patience or Patience()
        self._watched: list[Watched] = []
        self._stop_requests = 0
        self._stopping = False
        self._wakeups, self._wake = socket.socketpair()

    # The plan

    def run(self, plan: Sequence[Runnable | Step], *, on_ready: Callable[[], str]) -> None:
        """Returns after a stop that was asked for; raises EmbeddedError on a failure. Nothing is left either way."""
        with self._signals():
            try:
                for name in self.children.end_leftovers():
                    say(f"Ended {name}, which an earlier start had left behind.")
                for item in plan:
                    self._wait(0)
                    if isinstance(item, Step):
                        self._take(item)
                    else:
                        self._bring_up(item)
                say(on_ready())
                self._watch()
            except Stopped:
                say("Stopping. (Ctrl-C again kills.)")
            finally:
                self._stop_all()
                say("Everything has stopped.")

    def _take(self, step: Step) -> None:
        began = time.monotonic()
        written = step.log.stat().st_size if step.log.exists() else 0
        process = spawn(step.command, log=step.log, env=step.environment(), cwd=step.cwd)
        self.children.add(step.name, process)
        try:
            while process.poll() is None:
                self._wait(1.0)
        finally:
            stop(process, [(signal.SIGTERM, 3.0)])
        if process.returncode != 0:
            raise EmbeddedError(_failure(step.name, process.returncode, step.log))
        say(f"{step.name:<14}done in {time.monotonic() - began:.1f} s")
        if step.show_output:
            with step.log.open("rb") as stream:
                stream.seek(written)
                say(stream.read().decode(errors="replace").rstrip())

    def _bring_up(self, runnable: Runnable) -> None:
        watched = Watched(runnable)
        self._watched.append(watched)  # first, so that a failing start is cleaned up as well
        self._start(runnable)
        if isinstance(runnable, Program):
            self._await_ready(runnable)
        say(f"{runnable.name:<14}started")

    def _start(self, runnable: Runnable) -> None:
        runnable.start()
        if runnable.process:
            self.children.add(runnable.name, runnable.process)

    def _await_ready(self, program: Program) -> None:
        deadline = time.monotonic() + program.ready_within
        while not program.is_ready():
            status = program.poll()
            if status is not None and status not in program.elsewhere:
                raise EmbeddedError(_failure(program.name, status, program.log))
            if time.monotonic() > deadline:
                raise EmbeddedError(
                    f"{program.name} was not ready after {program.ready_within:.0f} s.{_log_end(program.log)}"
                )
            if status is not None:
                program.kill()  # whatever it had started
                self._start(program)
            self._wait(0.05)

    # While it runs

    def _watch(self) -> None:
        while True:
            now = time.monotonic()
            pauses = [60.0]
            for watched in list(self._watched):
                if watched.start_again_at is None and watched.runnable.poll() is not None:
                    self._note_death(watched, now)
                if watched.start_again_at is not None:
                    if watched.start_again_at <= now:
                        watched.start_again_at = None
                        self._start(watched.runnable)
                        say(f"{watched.runnable.name} runs again.")
                    else:
                        pauses.append(watched.start_again_at - now)
            self._wait(min(pauses))

    def _note_death(self, watched: Watched, now: float) -> None:
        runnable, patience = watched.runnable, self.patience
        status = runnable.poll()
        runnable.kill()  # whatever it had started
        watched.deaths.append(now)
        while watched.deaths and watched.deaths[0] < now - patience.within:
            watched.deaths.popleft()
        failures = len(watched.deaths)
        if isinstance(runnable, Program) and runnable.spare:
            if failures > patience.restarts or status in runnable.final:
                self._watched.remove(watched)
                say(f"{runnable.name} {_ending(status)}; the rest goes on without it. Its log: {runnable.log}")
                return
        elif failures > patience.restarts:
            raise EmbeddedError(
                f"Giving up: {runnable.name} ended {failures} times within {patience.within:.0f} s. "
                f"{_failure(runnable.name, status, runnable.log)}"
            )
        pause = patience.pause(failures)
        watched.start_again_at = now + pause
        say(f"{runnable.name} {_ending(status)}; starting it again in {pause:.0f} s. Its log: {runnable.log}")

    # The end

    def _stop_all(self) -> None:
        self._stopping = True
        for watched in reversed(self._watched):
            watched.runnable.stop()
        self._watched.clear()
        self.children.clear()

    # Signals

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._stopping:
            self._hurry()
        self._stop_requests += 1

    def _hurry(self) -> None:
        """Asked again while stopping: whoever is being waited for ends now, so the wait does too."""
        for watched in self._watched:
            process = watched.runnable.process
            if process and process.returncode is None:
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, watched.runnable.kill_signal)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Children's deaths and requests to stop wake the wait below, whenever they arrive."""
        self._wakeups.setblocking(False)
        self._wake.setblocking(False)
        earlier = {number: signal.signal(number, self._on_signal) for number in STOP_SIGNALS}
        earlier[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda number, frame: None)
        previous = signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(previous)
            for number, handler in earlier.items():
                signal.signal(number, handler)
            self._wake.close()
            self._wakeups.close()

    def _wait(self, seconds: float) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._wakeups, selectors.EVENT_READ)
            if not self._stop_requests:
                selector.select(seconds)
        with suppress(BlockingIOError):
            self._wakeups.recv(4096)
        if self._stop_requests:
            raise Stopped


def say(text: str) -> None:
    """To the console; a console that has gone away is no reason to fail."""
    with suppress(OSError, ValueError):
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


def _ending(status: int | None) -> str:
    if status is not None and status < 0:
        return f"was killed ({signal.Signals(-status).name})"
    return f"ended with exit code {status}"


def _failure(name: str, status: int | None, log: Path) -> str:
    return f"{name} {_ending(status)}.{_log_end(log)}"


def _log_end(log: Path) -> str:
    return f" The end of {log}:\n{tail(log)}"
