"""Starts programs in their order, then starts again what dies, and stops all of them in reverse order."""

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from compliance.embedded.folder import EmbeddedError
from compliance.embedded.processes import Program, tail

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
READY_WITHIN_SECONDS = 90.0
CHECK_SECONDS = 0.1  # how long a death, or a request to stop, may go unseen
# How often what dies is started again: after a pause that doubles, and in so many seconds so many times.
RESTARTS, RESTARTS_WITHIN_SECONDS, FIRST_PAUSE_SECONDS = 5, 120.0, 1.0


class Stopped(BaseException):
    """Somebody asked for the end. Not an Exception: nothing on the way may take it for a failure."""


class Supervisor:
    def __init__(self) -> None:
        self._running: list[Program] = []
        self._stop_asked = self._stopping = False

    def run(self, programs: Sequence[Program], *, on_ready: Callable[[], str]) -> None:
        """Returns after a stop that was asked for; raises EmbeddedError on a failure. Nothing is left either way."""
        began = time.monotonic()
        with self._signals():
            try:
                for program in programs:
                    self._bring_up(program)
                say(f"{on_ready()}\nThe start took {time.monotonic() - began:.1f} s.")
                while True:
                    self._wait(CHECK_SECONDS)
                    for program in list(self._running):
                        self._look_after(program, time.monotonic())
            except Stopped:
                say("Stopping. (Ctrl-C again kills.)")
            finally:
                self._stopping = True
                for program in reversed(self._running):
                    program.stop()
                say("Everything has stopped.")

    def _bring_up(self, program: Program) -> None:
        self._wait(0)
        began = time.monotonic()
        self._running.append(program)  # first, so that a failing start is cleaned up as well
        program.start()
        while not program.is_ready():
            status = program.poll()
            if status is not None:
                raise _failure(program, _how_it_ended(program, status))
            if time.monotonic() > began + READY_WITHIN_SECONDS and not program.once:
                raise _failure(program, f"{program.name} was not ready after {READY_WITHIN_SECONDS:.0f} s")
            self._wait(0.05)
        say(f"{program.name:<14}{'done' if program.once else 'started'} in {time.monotonic() - began:.1f} s")
        if program.once:
            self._running.remove(program)
            program.stop()
        if program.show_output:
            say(program.output().rstrip())

    def _look_after(self, program: Program, now: float) -> None:
        if program.due is not None:
            if program.due <= now:
                program.due = None
                program.start()
                say(f"{program.name} runs again.")
            return
        status = program.poll()
        if status is None:
            return
        program.kill()  # whatever it had started
        program.deaths = [at for at in program.deaths if at > now - RESTARTS_WITHIN_SECONDS] + [now]
        again, ended = len(program.deaths) <= RESTARTS, _how_it_ended(program, status)
        if program.spare and (not again or status in program.final):
            self._running.remove(program)
            say(f"{ended}; the rest goes on without it. Its log: {program.log}")
        elif not again:
            raise _failure(program, f"Giving up after {len(program.deaths)} times: {ended}")
        else:
            pause = FIRST_PAUSE_SECONDS * 2.0 ** (len(program.deaths) - 1)
            program.due = now + pause
            say(f"{ended}; starting it again in {pause:.0f} s. Its log: {program.log}")

    # Signals

    def _on_signal(self, number: int, frame: object) -> None:
        if self._stopping:  # asked again: whoever is being waited for ends now, so the wait does too
            for program in self._running:
                if program.process and program.process.returncode is None:
                    program.signal_group(program.kill_signal)
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
        print(text, flush=True)  # noqa: T201


def _how_it_ended(program: Program, status: int) -> str:
    how = f"was killed ({signal.Signals(-status).name})" if status < 0 else f"ended with exit code {status}"
    return f"{program.name} {how}"


def _failure(program: Program, what: str) -> EmbeddedError:
    return EmbeddedError(f"{what}. The end of {program.log}:\n{tail(program.log)}")
