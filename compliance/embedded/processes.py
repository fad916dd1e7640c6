"""Starting, finding and ending processes, so that none outlives its use."""

import ctypes
import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped]

_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1
Signals = Sequence[tuple[signal.Signals, float]]  # one after the other, each with the seconds that it is given


def spawn(
    argv: Sequence[str | Path],
    *,
    log: Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    user: pwd.struct_passwd | None = None,
    death_signal: int = signal.SIGTERM,
) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own: the terminal's Ctrl-C reaches only the supervisor."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as output:
        return subprocess.Popen(  # noqa: S603 - argument list from our own code, no shell
            [str(part) for part in argv],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=None if env is None else dict(env),
            cwd=cwd,
            start_new_session=True,
            preexec_fn=_ends_with_parent(death_signal),
            user=user.pw_uid if user else None,
            group=user.pw_gid if user else None,
            extra_groups=[] if user else None,
            umask=0o077 if user else -1,
        )


def _ends_with_parent(death_signal: int) -> Callable[[], None] | None:
    """What a child does before it runs its program. Python changes its user before: the kernel would forget it."""
    if _LIBC is None or not death_signal:
        return None
    parent, prctl = os.getpid(), _LIBC.prctl

    def prepare() -> None:
        prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return prepare


class Child:
    """A program that runs until it is stopped. It may be started again."""

    name: str
    once = spare = show_output = False  # see Program
    final: Sequence[int] = ()
    log: Path
    stop_signals: Signals = ((signal.SIGTERM, 3.0),)
    kill_signal = signal.SIGKILL
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        raise NotImplementedError

    def output(self) -> str:
        """What it wrote since its start."""
        return ""

    def is_ready(self) -> bool:
        return True

    def poll(self) -> int | None:
        return self.process.poll() if self.process else None

    def stop(self) -> None:
        for number, seconds in self.stop_signals:
            if self.process and self.process.poll() is None:
                self.process.send_signal(number)
                with suppress(subprocess.TimeoutExpired):
                    self.process.wait(seconds)
        self.signal_group(signal.SIGKILL)

    def kill(self) -> None:
        """End it at once, with all that it has started."""
        self.signal_group(self.kill_signal)
        self.stop()

    def signal_group(self, number: signal.Signals) -> None:
        if self.process:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, number)
            if number == signal.SIGKILL:
                self.process.wait()
                self.process = None


def working_in(folder: Path, name: str) -> list[psutil.Process]:
    """Programs of that name whose work folder this is; the name alone, or an old pid alone, proves nothing."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.name().startswith(name) and _works_in(process, folder):
                found.append(process)
    return found


def _works_in(process: psutil.Process, folder: Path) -> bool:
    try:
        return str(folder) in process.cmdline() or bool(process.cwd() == str(folder))
    except psutil.AccessDenied:  # another user's, in a container without the right to trace
        return False


def in_groups_of(leaders: Mapping[int, float]) -> list[psutil.Process]:
    """The processes of these groups. A pid is reused sooner or later; pid and start time of a leader are not."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, ProcessLookupError):
            group = os.getpgid(process.pid)
            if group in leaders and (
                not psutil.pid_exists(group) or abs(psutil.Process(group).create_time() - leaders[group]) < 0.02
            ):
                found.append(process)
    return found


def end_orphans(orphans: Sequence[psutil.Process], signals: Signals) -> bool:
    """End processes that are not our children (their exit status is nobody's); True when none is left."""
    alive = list(orphans)
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
