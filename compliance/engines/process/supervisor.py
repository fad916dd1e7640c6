"""Starts one program, watches it with everything that it starts, and leaves nothing of it behind.

Run as a script, because its work must go on when the process that asked for it is killed:

    supervisor.py CONTROL_FD LIMITS PROGRAM ARGUMENT...

LIMITS is JSON: seconds, memory_mb, processes, file_bytes, marker, scratch. CONTROL_FD is a socket to the process that
asked: when that end closes or shuts down, all is killed. Before the end the supervisor writes one JSON object to
it: returncode (null when it was stopped), stopped, peak_mb; or errno and error when the program cannot start.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

import psutil  # type: ignore[import-untyped]

MARKER = "ASSAY_PROCESS_MARKER"  # in the environment of all that a run starts, with a value of its own

SCRATCH = "assay-run-"  # what the name of a run's own folder begins with

_TICK = 0.2  # seconds between two checks of the tree
_CHECK_SHARE = 10  # the time of a check, times this, is at least between two checks
_END_SECONDS = 5.0  # for everything to be gone; what cannot be killed by then hangs in the kernel
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def marked(marker: str) -> list[psutil.Process]:
    """The processes whose environment holds the marker, wherever they are in the tree."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARKER) == marker:
                found.append(process)
        except (psutil.Error, OSError):
            continue  # gone, or somebody else's, which therefore is not ours to end
    return found


def end(find: Callable[[], Iterable[psutil.Process]], reap: Callable[[], Any] = lambda: None) -> bool:
    """Kill all that `find` finds until it finds nothing; False when something outlived `_END_SECONDS`."""
    ends = time.monotonic() + _END_SECONDS
    stopped: set[psutil.Process] = set()
    while time.monotonic() < ends:
        reap()
        alive = {process for process in find() if _alive(process)}
        if not alive:
            return True
        # All are held first: what forks faster than it is found would otherwise outrun the killing.
        fresh = alive - stopped
        for process in fresh or alive:
            _signal(process, signal.SIGSTOP if fresh else signal.SIGKILL)
        stopped |= fresh
        if not fresh:
            psutil.wait_procs(alive, timeout=0.05)
    for process in find():
        _signal(process, signal.SIGKILL)
    return False


def _alive(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except (psutil.Error, OSError):
        return  # it ended by itself


class Supervisor:
    def __init__(self, control: socket.socket, limits: dict[str, Any]) -> None:
        self.control = control
        self.limits = limits
        self.me = psutil.Process()
        self.peak = 0  # bytes
        self.pid = 0
        self.returncode: int | None = None
        self.libc = ctypes.CDLL(None)
        self.wakeup, writing = socket.socketpair()
        self.wakeup.setblocking(False)
        writing.setblocking(False)
        self._writing = writing
        signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        if sys.platform == "linux":
            # What loses its parent comes to us instead of leaving the tree.
            self.libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def _in_child(self) -> None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.limits["file_bytes"],) * 2)
        if sys.platform == "linux":
            self.libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            # When the machine runs out of memory, this goes before the worker and the servers do.
            with open("/proc/self/oom_score_adj", "w") as file:
                file.write("500")

    def start(self, argv: list[str]) -> None:
        child = subprocess.Popen(argv, start_new_session=True, preexec_fn=self._in_child)  # noqa: S603
        self.pid, child.returncode = child.pid, 0  # reaped below, with all that lost its parent
        # Our own copies would keep the pipes open after everybody who writes to them has gone.
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in range(3):
            os.dup2(null, descriptor)

    def reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self.pid:
                self.returncode = os.waitstatus_to_exitcode(status)

    def tree(self) -> list[psutil.Process]:
        return list(self.me.children(recursive=True))

    def everything(self) -> set[psutil.Process]:
        return {*self.tree(), *marked(self.limits["marker"])} - {self.me}

    def check_limits(self) -> str:
        """The limit that the tree is over, or ""."""
        tree, resident = self.tree(), 0
        for process in tree:
            try:
                resident += process.memory_info().rss
            except psutil.Error:
                continue
        self.peak = max(self.peak, resident)
        if resident > self.limits["memory_mb"] * 1024 * 1024:
            return "memory"
        return "processes" if len(tree) > self.limits["processes"] else ""

    def watch(self) -> str:
        """Until the program ends, or has to: why, or "" when it ended by itself."""
        ends = time.monotonic() + self.limits["seconds"]
        next_look = time.monotonic()
        while True:
            now = time.monotonic()
            if now >= ends:
                return "deadline"
            if now >= next_look:
                if over := self.check_limits():
                    return over
                took = time.monotonic() - now
                next_look = now + max(_TICK, took * _CHECK_SHARE)
            wait = max(min(next_look, ends) - time.monotonic(), 0)
            ready, _, _ = select.select([self.control, self.wakeup], [], [], wait)
            if self.wakeup in ready:
                self.wakeup.recv(4096)
                self.reap()
                if self.returncode is not None:
                    return ""
            if self.control in ready:
                return "asked"

    def run(self, argv: list[str]) -> dict[str, Any]:
        try:
            self.start(argv)
        except (OSError, subprocess.SubprocessError) as error:
            return {"errno": getattr(error, "errno", None), "error": f"cannot run {argv[0]}: {error}"}
        try:
            stopped = self.watch()
        finally:
            gone = end(self.everything, self.reap)
        return {
            "returncode": None if stopped else self.returncode,
            "stopped": stopped,
            "peak_mb": -(-self.peak // (1024 * 1024)),
            "gone": gone,
        }


def main(arguments: list[str]) -> None:
    control = socket.socket(fileno=int(arguments[0]))
    control.set_inheritable(False)
    limits = json.loads(arguments[1])
    said = Supervisor(control, limits).run(arguments[2:])
    try:
        control.sendall(json.dumps(said).encode() + b"\n")
    except OSError:
        # Who asked was killed. What the programs wrote may quote an agent that echoes a secret, and nobody redacted it.
        if limits["scratch"]:
            shutil.rmtree(limits["scratch"], ignore_errors=True)
        sys.exit("nobody is left to hear it")


if __name__ == "__main__":
    main(sys.argv[1:])
