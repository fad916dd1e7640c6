"""Programs that an engine starts: bounded in time, memory, output, processes and files, and gone afterwards.

Each program runs under a supervisor (see supervisor.py), which kills it with everything that it started when a limit
is passed, when the run is cancelled, and when this process is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import logging
import os
import secrets
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compliance.engines.process.supervisor import MARKER, SCRATCH, end, marked

log = logging.getLogger(__name__)

_SUPERVISOR = Path(__file__).with_name("supervisor.py")
_CHUNK = 64 * 1024  # bytes
_STDERR_BYTES = 64 * 1024  # the tail that is kept
_GRACE_SECONDS = 10.0  # for the supervisor to do its part after a deadline, before it is done without it
_PR_SET_DUMPABLE = 4
_SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"


@dataclass(frozen=True, slots=True)
class ProcessLimits:
    """What one program may take, with all that it starts."""

    seconds: float  # from start to end
    memory_mb: int  # resident, of all processes together, in MiB; looked at a few times a second
    output_bytes: int = 32 * 1024 * 1024  # of standard output
    processes: int = 32  # at a time
    file_bytes: int = 64 * 1024 * 1024  # of one file


@dataclass(frozen=True, slots=True)
class Finished:
    """What became of a program."""

    returncode: int | None  # negative: the signal that ended it; None when it was stopped
    stdout: bytes
    stderr: str  # the end of it; what a caller keeps of it has to be redacted first
    stopped: str  # the limit that it passed: "deadline", "memory", "output", "processes", or "" for none
    seconds: float
    peak_mb: int  # resident, of all processes together


def hide_from_programs() -> None:
    """Keep this process's environment, memory and open files from others of its own user, on Linux.

    Programs that engines start are of the same user, and could read in /proc with which keys their worker, the web
    beside it or their runner was started. It holds for what is forked too, and ends where another program is
    executed: theirs stay readable for the supervisor. Whoever is root with the right to trace is not kept out.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        log.warning("Other programs can read this process's environment: %s", os.strerror(ctypes.get_errno()))


class SupervisorLost(Exception):
    """The process that watched a program ended without a word. What it watched has been killed."""


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder of a run's own, removed afterwards with all in it; by the supervisor when this process is killed."""
    path = Path(tempfile.mkdtemp(prefix=SCRATCH))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def environment(folder: Path, program: str, env: Mapping[str, str]) -> dict[str, str]:
    """What a program sees: built from nothing, so that no secret of the worker can be in it."""
    home = str(folder)
    return {
        "PATH": os.pathsep.join(filter(None, (os.path.dirname(program), _SYSTEM_PATH))),
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        **dict.fromkeys(("HOME", "TMPDIR", "TMP", "TEMP", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"), home),
        **env,
    }


class _Watched:
    """One program between its start and its end."""

    def __init__(self, limits: ProcessLimits, on_line: Callable[[bytes], None] | None) -> None:
        self.limits = limits
        self.on_line = on_line
        self.stdout = bytearray()
        self.stderr = bytearray()
        self.too_much = False
        self.marker = secrets.token_hex(16)
        self.control, self.theirs = socket.socketpair()
        self.control.setblocking(False)

    def stop(self) -> None:
        """Have the supervisor kill everything; returns at once."""
        with contextlib.suppress(OSError):
            self.control.shutdown(socket.SHUT_WR)

    async def start(
        self, argv: Sequence[str], env: dict[str, str], folder: Path, *, fed: bool
    ) -> asyncio.subprocess.Process:
        limits = {
            "seconds": self.limits.seconds,
            "memory_mb": self.limits.memory_mb,
            "processes": self.limits.processes,
            "file_bytes": self.limits.file_bytes,
            "marker": self.marker,
            "scratch": str(folder) if folder.name.startswith(SCRATCH) else "",
        }
        with self.theirs:
            return await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", str(_SUPERVISOR), str(self.theirs.fileno()), json.dumps(limits), *argv),
                stdin=asyncio.subprocess.PIPE if fed else asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                cwd=folder,
                env={**env, MARKER: self.marker},
                pass_fds=(self.theirs.fileno(),),
                start_new_session=True,
            )

    async def read_stdout(self, reader: asyncio.StreamReader | None) -> None:
        assert reader is not None
        line_start = 0
        while chunk := await reader.read(_CHUNK):
            left = self.limits.output_bytes - len(self.stdout)
            if len(chunk) > left:
                self.too_much = True
                self.stop()
            seen = len(self.stdout)
            self.stdout += chunk[:left]
            if self.on_line is None:
                continue
            while (newline := self.stdout.find(b"\n", seen)) >= 0:
                self.on_line(bytes(self.stdout[line_start:newline]))
                line_start = seen = newline + 1
        if self.on_line is not None and line_start < len(self.stdout):
            self.on_line(bytes(self.stdout[line_start:]))

    async def read_stderr(self, reader: asyncio.StreamReader | None) -> None:
        assert reader is not None
        while chunk := await reader.read(_CHUNK):
            self.stderr = (self.stderr + chunk)[-_STDERR_BYTES:]

    async def feed(self, writer: asyncio.StreamWriter | None, data: bytes) -> None:
        if writer is None:
            return
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def status(self) -> dict[str, Any]:
        """What the supervisor says at its end. Raises SupervisorLost."""
        loop, said = asyncio.get_running_loop(), bytearray()
        with contextlib.suppress(ConnectionResetError):
            while part := await loop.sock_recv(self.control, 4096):
                said += part
        if not said.endswith(b"\n"):
            raise SupervisorLost("the process that watches the engine was killed")
        found: dict[str, Any] = json.loads(said)
        return found


async def run_process(
    argv: Sequence[str],
    *,
    limits: ProcessLimits,
    env: Mapping[str, str],
    folder: Path,
    stdin: bytes = b"",
    on_line: Callable[[bytes], None] | None = None,
) -> Finished:
    """Run a program in `folder`, which is its home and temporary folder too, to its end or to a limit.

    argv: the program's path, and its arguments, which every user of the machine can read.
    env: added to an environment of a few harmless variables; nothing of this process's own is passed on.
    on_line: called with each line of standard output as it comes, without its end.
    When the task is cancelled, the program is killed with all its children before CancelledError goes on.
    Raises OSError when the program cannot be started, SupervisorLost when its watcher was killed.
    """
    watched = _Watched(limits, on_line)
    started = time.monotonic()
    with watched.control:
        process = await watched.start(argv, environment(folder, argv[0], env), folder, fed=bool(stdin))
        tasks: list[asyncio.Future[Any]] = [
            asyncio.ensure_future(watched.status()),
            asyncio.ensure_future(watched.read_stdout(process.stdout)),
            asyncio.ensure_future(watched.read_stderr(process.stderr)),
            asyncio.ensure_future(watched.feed(process.stdin, stdin)),
        ]
        try:
            async with asyncio.timeout(limits.seconds + _GRACE_SECONDS):
                said, *_ = await asyncio.gather(*tasks)
        except TimeoutError:
            said = {"stopped": "deadline", "gone": False}
        finally:
            watched.stop()
            await asyncio.shield(asyncio.ensure_future(_ended(process, watched, tasks)))
    if "error" in said:
        raise OSError(said["errno"], said["error"])
    if not said["gone"]:
        log.error("Processes of an engine could not be killed: %s", argv[0])
    stopped = "output" if watched.too_much else said["stopped"]
    return Finished(
        returncode=None if stopped else said["returncode"],
        stdout=bytes(watched.stdout),
        stderr=watched.stderr.decode("utf-8", "replace"),
        stopped=stopped,
        seconds=time.monotonic() - started,
        peak_mb=said.get("peak_mb", 0),
    )


async def _ended(process: asyncio.subprocess.Process, watched: _Watched, tasks: Sequence[asyncio.Future[Any]]) -> None:
    """Wait until the supervisor has done its part; do it without the supervisor when it does not."""
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    lost = any(isinstance(task.exception(), SupervisorLost) for task in tasks if not task.cancelled())
    # What still comes has to be read away: asyncio sees the end of a process only after that of its pipes.
    rest = [asyncio.ensure_future(_read_away(reader)) for reader in (process.stdout, process.stderr) if reader]
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), 0 if lost else _GRACE_SECONDS)
    if process.returncode != 0:
        if process.returncode is None:
            process.kill()
        await asyncio.to_thread(end, lambda: marked(watched.marker))
    # Where nobody gets the orphans, one that got away may hold the pipes open for as long as it likes.
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(asyncio.gather(process.wait(), *rest), _GRACE_SECONDS)


async def _read_away(reader: asyncio.StreamReader) -> None:
    while await reader.read(_CHUNK):
        pass
