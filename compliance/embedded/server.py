"""What the two servers of our own have in common."""

import time
from abc import abstractmethod
from importlib.util import find_spec
from pathlib import Path

from compliance.embedded.errors import EmbeddedError
from compliance.embedded.keys import KeyFile
from compliance.embedded.ports import free_port
from compliance.embedded.processes import Child, tail, wait_until


class Server(Child):
    """Loopback only, password only. `start()` may be called again after a crash and keeps the port."""

    title: str

    def __init__(self, data_dir: Path, *, durable: bool = True) -> None:
        self.data_dir = data_dir.resolve()
        self.durable = durable
        self.log = self.data_dir / "log" / f"{self.name}.log"
        self.keys = KeyFile(self.data_dir / "keys.json")
        self.port: int | None = None

    @abstractmethod
    def launch(self) -> None:
        """Start the process on the port."""

    @abstractmethod
    def answers(self) -> bool: ...

    def start(self) -> None:
        for attempt in range(5):  # the free port may be taken meanwhile; a killed server's memory may linger a moment
            self.port = self.port if self.port and attempt == 0 else free_port()
            self.launch()
            deadline = time.monotonic() + 60  # replaying a log after a crash takes its time
            while self.poll() is None and self.process:
                if self.answers():
                    return
                if not wait_until(deadline):
                    self.kill()
        raise EmbeddedError(f"{self.title} does not start. The end of {self.log}:\n{tail(self.log)}")


def file_in_wheel(package: str, path: str, *, wheel: str, instead: str) -> Path:
    """A program in an installed package, which is not imported: importing it has side effects."""
    spec = find_spec(package)
    file = Path(spec.origin).resolve().parent / path if spec and spec.origin else None
    if file is None or not file.exists():
        raise EmbeddedError(
            f"There is no {wheel}. Install requirements.txt again, or set {instead} to use a server of your own."
        )
    return file
