"""Runs a plan in its order, then starts again what dies, and stops all of it in reverse order."""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from compliance.embedded.errors import EmbeddedError
from compliance.embedded.keys import write_private
from compliance.embedded.processes import Child, end_orphans, in_groups_of, tail
from compliance.embedded.programs import Program

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
READY_WITHIN_SECONDS = 90.0
CHECK_SECONDS = 0.1  # how long a death, or a request to stop, may go unseen
# How often what dies is started again: after a pause that doubles, and in so many seconds so many times.
RESTARTS, RESTARTS_WITHIN_SECONDS, FIRST_PAUSE_SECONDS = 5, 120.0, 1.0


class Stopped(BaseException):
    """Somebody asked for the end. Not an Exception: nothing on the way may take it for a failure."""


class Supervisor:
    def __init__(self, data_dir: Path) -> None:
        self._record = data_dir / "children.json"
        self._children: dict[str, tuple[int, float]] = {}
        self._running: list[Child] = []
        self._deaths: dict[str, list[float]] = {}
        self._due: dict[str, float] = {}  # what waits to be started again, and when
        self._stop_asked = self._stopping = False

    def run(self, plan: Sequence[Child], *, on_ready: Callable[[], str]) -> None:
        """Returns after a stop that was asked for; raises EmbeddedError on a failure. Nothing is left either way."""
        began = time.monotonic()
        with self._signals():
            try:
                for child in plan:
                    self._bring_up(child)
                say(f"{on_ready()}\nThe start took {time.monotonic() - began:.1f} s.")
                while True:
                    self._wait(CHECK_SECONDS)
                    for child in list(self._running):
                        self._look_after(child)
            except Stopped:
                say("Stopping. (Ctrl-C again kills.)")
            finally:
                self._stopping = True
                for child in reversed(self._running):
                    child.stop()
                self._record.unlink(missing_ok=True)
                say("Everything has stopped.")

    def end_leftovers(self) -> None:
        """An earlier supervisor that was killed may have left programs."""
        with suppress(FileNotFoundError, ValueError):
            recorded = json.loads(self._record.read_text())
            leftovers = in_groups_of(dict(recorded.values()))
            if leftovers:
                end_orphans(leftovers, [(signal.SIGTERM, 5.0), (signal.SIGKILL, 2.0)])
                say("Ended what an earlier start had left behind.")

    def _bring_up(self, child: Child) -> None:
        self._wait(0)
        began = time.monotonic()
        self._running.append(child)  # first, so that a failing start is cleaned up as well
        self._start(child)
        while not child.is_ready():
            status = child.poll()
            if status is not None:
                raise EmbeddedError(_failure(child, status))
            if time.monotonic() > began + READY_WITHIN_SECONDS and not child.once:
                raise EmbeddedError(f"{child.name} was not ready after {READY_WITHIN_SECONDS:.0f} s.{_log_end(child)}")
            self._wait(0.05)
        say(f"{child.name:<14}{'done' if child.once else 'started'} in {time.monotonic() - began:.1f} s")
        if child.once:
            self._running.remove(child)
            del self._children[child.name]
        if child.show_output:
            say(child.output().rstrip())

    def _start(self, child: Child) -> None:
        child.start()
        if isinstance(child, Program) and child.process:
            self._children[child.name] = child.process.pid, psutil.Process(child.process.pid).create_time()
            write_private(self._record, json.dumps(self._children))

    def _look_after(self, child: Child) -> None:
        now, due = time.monotonic(), self._due.get(child.name)
        if due is None and (status := child.poll()) is not None:
            self._note_death(child, status, now)
        elif due is not None and due <= now:
            del self._due[child.name]
            self._start(child)
            say(f"{child.name} runs again.")

    def _note_death(self, child: Child, status: int, now: float) -> None:
        child.kill()  # whatever it had started
        deaths = [at for at in self._deaths.get(child.name, []) if at > now - RESTARTS_WITHIN_SECONDS] + [now]
        self._deaths[child.name] = deaths
        if child.spare and (len(deaths) > RESTARTS or status in child.final):
            self._running.remove(child)
            say(f"{child.name} {_how_it_ended(status)}; the rest goes on without it. Its log: {child.log}")
            return
        if len(deaths) > RESTARTS:
            raise EmbeddedError(f"Giving up after {len(deaths)} times: {_failure(child, status)}")
        pause = FIRST_PAUSE_SECONDS * 2.0 ** (len(deaths) - 1)
        self._due[child.name] = now + pause
        say(f"{child.name} {_how_it_ended(status)}; starting it again in {pause:.0f} s. Its log: {child.log}")

    # Signals

    def _on_signal(self, number: int, frame: object) -> None:
        if self._stopping:  # asked again: whoever is being waited for ends now, so the wait does too
            for child in self._running:
                if child.process and child.process.returncode is None:
                    with suppress(ProcessLookupError, PermissionError):
                        os.killpg(child.process.pid, child.kill_signal)
        self._stop_asked = True

    @contextmanager
    def _signals(self) -> Iterator[None]:
        earlier = {number: signal.signal(number, self._on_signal) for number in STOP_SIGNALS}
        try:
            yield
        finally:
            for number, handler in earlier.items():
                signal.signal(number, handler)

    def _wait(self, seconds: float) -> None:
        if not self._stop_asked:
            time.sleep(seconds)
        if self._stop_asked:
            raise Stopped


def say(text: str) -> None:
    """To the console; a console that has gone away is no reason to fail."""
    with suppress(OSError, ValueError):
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


def _how_it_ended(status: int) -> str:
    return f"was killed ({signal.Signals(-status).name})" if status < 0 else f"ended with exit code {status}"


def _failure(child: Child, status: int) -> str:
    return f"{child.name} {_how_it_ended(status)}.{_log_end(child)}"


def _log_end(child: Child) -> str:
    return f" The end of {child.log}:\n{tail(child.log)}"
