"""A command as the supervisor runs it."""

import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from compliance.embedded.processes import Child, spawn


@dataclass
class Program(Child):
    """A command that runs until it is stopped or, with `once`, one that must succeed before the next begins.

    `ready(output)` sees what it has written since its start and answers whether others may use it now. The rest goes on
    without a `spare` one; after an exit code of `final` another start of it would not help.
    """

    name: str
    command: Sequence[str]
    log: Path
    environment: Callable[[], Mapping[str, str]]
    cwd: Path | None = None
    ready: Callable[[str], bool] | None = None
    once: bool = False
    show_output: bool = False
    grace: float = 3.0
    spare: bool = False
    final: Sequence[int] = ()
    _written_before: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.stop_signals = ((signal.SIGTERM, self.grace),)

    def start(self) -> None:
        self._written_before = self.log.stat().st_size if self.log.exists() else 0
        self.process = spawn(self.command, log=self.log, env=self.environment(), cwd=self.cwd)

    def output(self) -> str:
        with self.log.open("rb") as stream:
            stream.seek(self._written_before)
            return stream.read().decode(errors="replace")

    def is_ready(self) -> bool:
        if self.once:
            return self.poll() == 0
        return self.ready is None or self.ready(self.output())
