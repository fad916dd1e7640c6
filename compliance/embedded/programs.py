"""What a supervisor can run: steps that end, and programs that stay."""

import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from compliance.embedded.processes import kill_group, spawn, stop

Environment = Mapping[str, str]


class Runnable(Protocol):
    """Both our own servers and the programs below."""

    name: str
    log: Path
    process: subprocess.Popen[bytes] | None
    kill_signal: signal.Signals

    def start(self) -> None: ...
    def poll(self) -> int | None: ...
    def stop(self) -> None: ...
    def kill(self) -> None: ...


@dataclass
class Step:
    """A command that must succeed before what follows it begins."""

    name: str
    command: Sequence[str]
    log: Path
    environment: Callable[[], Environment]
    cwd: Path | None = None
    show_output: bool = False


@dataclass
class Program:
    """A command that runs until it is stopped.

    `arguments` are added to the command at each start. `ready(output)` sees what it has written since its start and
    answers whether others may use it now. One that ends with a code of `elsewhere` before that is started again at
    once, with what `arguments` then are. The rest goes on without a `spare` one. After an exit code of `final` another
    start would not help.
    """

    name: str
    command: Sequence[str]
    log: Path
    environment: Callable[[], Environment]
    cwd: Path | None = None
    arguments: Callable[[], Sequence[str]] | None = None
    ready: Callable[[str], bool] | None = None
    ready_within: float = 60.0
    grace: float = 3.0
    elsewhere: Sequence[int] = ()
    spare: bool = False
    final: Sequence[int] = ()
    kill_signal: signal.Signals = signal.SIGKILL
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _written_before: int = field(default=0, init=False)

    def start(self) -> None:
        self._written_before = self.log.stat().st_size if self.log.exists() else 0
        command = [*self.command, *(self.arguments() if self.arguments else ())]
        self.process = spawn(command, log=self.log, env=self.environment(), cwd=self.cwd)

    def output(self) -> str:
        """What it wrote since its start."""
        with self.log.open("rb") as stream:
            stream.seek(self._written_before)
            return stream.read().decode(errors="replace")

    def is_ready(self) -> bool:
        return self.ready is None or self.ready(self.output())

    def poll(self) -> int | None:
        return self.process.poll() if self.process else None

    def stop(self) -> None:
        if self.process:
            stop(self.process, [(signal.SIGTERM, self.grace)])
            self.process = None

    def kill(self) -> None:
        if self.process:
            kill_group(self.process)
            self.process = None
