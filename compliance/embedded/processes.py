"""Starting, finding and ending processes, so that none outlives its usefulness."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from compliance.embedded.keys import write_private

TETHER = Path(__file__).with_name("tether.py")


@dataclass(frozen=True)
class SystemUser:
    name: str
    uid: int
    gid: int


def spawn(
    argv: Sequence[str | Path],
    *,
    log: Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    user: SystemUser | None = None,
    death_signal: signal.Signals = signal.SIGTERM,
) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own: the terminal's Ctrl-C reaches only the supervisor."""
    log.parent.mkdir(parents=True, exist_ok=True)
    identity = f"{user.uid}:{user.gid}" if user else "-"
    command = [sys.executable, "-I", "-S", str(TETHER), str(int(death_signal)), str(os.getpid()), identity]
    with open(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as output:
        return subprocess.Popen(  # noqa: S603 - argument list from our own code, no shell
            [*command, *map(str, argv)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=None if env is None else dict(env),
            cwd=cwd,
            start_new_session=True,
        )


def stop(process: subprocess.Popen[bytes], ladder: Sequence[tuple[signal.Signals, float]]) -> None:
    """Send each signal in turn, waiting its seconds; at the end kill the whole process group, so none is left."""
    for number, grace in ladder:
        if process.poll() is not None:
            break
        process.send_signal(number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(grace)
    kill_group(process)


def kill_group(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def working_in(folder: Path, name: str) -> list[psutil.Process]:
    """Programs of that name whose work folder this is; the name alone, or an old pid alone, proves nothing."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.name().startswith(name) and _works_in(process, folder):
                found.append(process)
    return found


def _works_in(process: psutil.Process, folder: Path) -> bool:
    if str(folder) in process.cmdline():
        return True
    try:
        return bool(process.cwd() == str(folder))
    except psutil.AccessDenied:  # another user's, in a container without the right to trace
        return False


def end_orphans(orphans: Sequence[psutil.Process], ladder: Sequence[tuple[signal.Signals, float]]) -> bool:
    """End processes that are not our children (their exit status is nobody's); True when none is left."""
    alive = list(orphans)
    for number, grace in ladder:
        for process in alive:
            with suppress(psutil.Error):
                process.send_signal(number)
        deadline = time.monotonic() + grace
        while alive := [process for process in alive if lives(process)]:
            if not wait_until(deadline):
                break
        if not alive:
            return True
    return not alive


def lives(process: psutil.Process) -> bool:
    """A zombie does not live: in a container its new parent may never take notice of it."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


class ChildRecord:
    """Which children a supervisor has, on disk, so that its successor can end those that outlived it.

    A pid is reused sooner or later; pid and start time together are not.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._children: dict[str, tuple[int, float]] = {}

    def add(self, name: str, process: subprocess.Popen[bytes]) -> None:
        with suppress(psutil.NoSuchProcess):
            self._children[name] = (process.pid, psutil.Process(process.pid).create_time())
            write_private(self.path, json.dumps(self._children))

    def clear(self) -> None:
        self._children.clear()
        self.path.unlink(missing_ok=True)

    def end_leftovers(self) -> list[str]:
        """End what an earlier supervisor left running; returns the names."""
        try:
            recorded = json.loads(self.path.read_text())
        except (FileNotFoundError, ValueError):
            return []
        names, leftovers = [], []
        for name, (pid, born) in recorded.items():
            with suppress(psutil.Error):
                process = psutil.Process(pid)
                if abs(process.create_time() - born) < 0.02:
                    names.append(name)
                    leftovers += [process, *process.children(recursive=True)]
        end_orphans(leftovers, [(signal.SIGTERM, 5.0), (signal.SIGKILL, 2.0)])
        self.clear()
        return names


def tail(path: Path, lines: int = 20) -> str:
    """The last lines of a log, for a message about a failure."""
    try:
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
    except FileNotFoundError:
        return ""


def wait_until(deadline: float, interval: float = 0.02) -> bool:
    """One turn of a bounded poll: rests, and tells whether there is time left."""
    time.sleep(interval)
    return time.monotonic() < deadline
