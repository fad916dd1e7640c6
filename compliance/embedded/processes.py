"""Starting, finding and ending programs, so that none outlives its use."""

import ctypes
import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from compliance.embedded.folder import EmbeddedError, write_private

_PR_SET_PDEATHSIG = 1
Signals = Sequence[tuple[signal.Signals, float]]  # one after the other, each with the seconds that it is given


@dataclass
class Program:
    """A command that runs until it is stopped or, with `once`, one that must succeed before the next begins.

    `ready(output)` sees what it has written since its start and answers whether others may use it now. The rest goes on
    without a `spare` one; after an exit code of `final` another start of it would not help.
    """

    name: str
    command: Sequence[str]
    log: Path
    environment: Callable[[], Mapping[str, str]] = dict
    cwd: Path | None = None
    ready: Callable[[str], bool] | None = None
    once: bool = False
    show_output: bool = False
    grace: float = 3.0
    spare: bool = False
    final: Sequence[int] = ()
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    deaths: list[float] = field(default_factory=list, init=False)  # the latest, by the supervisor's clock
    due: float | None = field(default=None, init=False)  # when it is to be started again

    kill_signal = signal.SIGKILL

    @property
    def _record(self) -> Path:
        """Says which process it is, for the next start after one whose supervisor was killed."""
        return self.log.with_suffix(".pid")

    @property
    def stop_signals(self) -> Signals:
        return ((signal.SIGTERM, self.grace),)

    def start(self) -> None:
        self.written_before = self.log.stat().st_size if self.log.exists() else 0
        self.spawn(self.command, environment=self.environment(), cwd=self.cwd)

    def spawn(
        self,
        command: Sequence[str | Path],
        *,
        environment: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        user: pwd.struct_passwd | None = None,
        death_signal: int = signal.SIGTERM,
    ) -> None:
        """Start it in a session of its own: the terminal's Ctrl-C reaches only the supervisor."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with open(os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as output:
            self.process = subprocess.Popen(  # noqa: S603 - argument list from our own code, no shell
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=cwd,
                start_new_session=True,
                preexec_fn=_ends_with_parent(death_signal) if sys.platform == "linux" and death_signal else None,
                user=user.pw_uid if user else None,
                group=user.pw_gid if user else None,
                extra_groups=[] if user else None,
                umask=0o077 if user else -1,
            )
        with suppress(psutil.NoSuchProcess):
            write_private(self._record, f"{self.process.pid} {psutil.Process(self.process.pid).create_time()}")

    def output(self) -> str:
        with self.log.open("rb") as stream:
            stream.seek(self.written_before)
            return stream.read().decode(errors="replace")

    def is_ready(self) -> bool:
        return self.poll() == 0 if self.once else self.ready is None or self.ready(self.output())

    def poll(self) -> int | None:
        return self.process.poll() if self.process else None

    def stop(self) -> None:
        for number, seconds in self.stop_signals:
            if self.process and self.process.poll() is None:
                self.process.send_signal(number)
                with suppress(subprocess.TimeoutExpired):
                    self.process.wait(seconds)
        self.signal_group(signal.SIGKILL)
        if self.process:
            self.process.wait()
            self.process = None
            self._record.unlink(missing_ok=True)

    def kill(self) -> None:
        """End it at once, with all that it has started."""
        self.signal_group(self.kill_signal)
        self.stop()

    def signal_group(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):
            if self.process:
                os.killpg(self.process.pid, number)

    def end_leftovers(self) -> bool:
        """End what runs yet of a start whose supervisor was killed; True when there was something.

        A pid is reused sooner or later; pid and start time of a group's leader are not.
        """
        if not self._record.exists():
            return False
        leader, born = self._record.read_text().split()
        left = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, ProcessLookupError):
                if os.getpgid(process.pid) == int(leader) and (
                    not psutil.pid_exists(int(leader))
                    or abs(psutil.Process(int(leader)).create_time() - float(born)) < 0.02
                ):
                    left.append(process)
        if not end_processes(left, [*self.stop_signals, (signal.SIGKILL, 2.0)]):
            raise EmbeddedError(f"{self.name} of an earlier start does not stop (process {leader}).")
        self._record.unlink()
        return bool(left)


def _ends_with_parent(death_signal: int) -> Callable[[], None]:
    """What a child does before it runs its program. Python changes its user before: the kernel would forget it."""
    parent, prctl = os.getpid(), ctypes.CDLL(None).prctl

    def prepare() -> None:
        prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return prepare


def end_processes(processes: Sequence[psutil.Process], signals: Signals) -> bool:
    """End processes that are not our children (their exit status is nobody's); True when none is left."""
    alive = list(processes)
    for number, seconds in signals:
        for process in alive:
            with suppress(psutil.Error):
                process.send_signal(number)
        deadline = time.monotonic() + seconds
        while (alive := [process for process in alive if lives(process)]) and wait_until(deadline):
            pass
    return not alive


def lives(process: psutil.Process) -> bool:
    """A zombie does not live: in a container its new parent may never take notice of it."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def tail(path: Path, lines: int = 20) -> str:
    """The last lines of a log, for a message about a failure."""
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else ""


def wait_until(deadline: float, interval: float = 0.02) -> bool:
    """One turn of a bounded poll: rests, and tells whether there is time left."""
    time.sleep(interval)
    return time.monotonic() < deadline
