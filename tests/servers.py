"""The embedded servers without the rest of Assay: for tests and benchmarks. Imports no Django."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from compliance.embedded.folder import data_lock
from compliance.embedded.postgres import Postgres
from compliance.embedded.servers import Redis


@dataclass(frozen=True)
class Services:
    postgres: Postgres
    redis: Redis

    def environment(self) -> dict[str, str]:
        """What Assay's settings read, and the superuser's URL for whoever makes databases."""
        return {
            "DATABASE_URL": self.postgres.app_url,
            "DATABASE_OWNER_URL": self.postgres.owner_url,
            "DATABASE_SUPERUSER_URL": self.postgres.superuser_url,
            "REDIS_URL": self.redis.url,
        }


@contextmanager
def services(
    data_dir: Path | str | None = None, *, durable: bool = True, keep: bool | None = None, shared_buffers: str = "256MB"
) -> Iterator[Services]:
    """Both servers while the block runs. The default folder is deleted afterwards.

    `durable` waits for the disk; `keep` leaves PostgreSQL's data for the next time, and is as `durable` unless given.
    """
    with ExitStack() as stack:
        if data_dir is None:
            data_dir = stack.enter_context(tempfile.TemporaryDirectory(prefix="assay-", ignore_cleanup_errors=True))
        folder = Path(data_dir).resolve()
        stack.enter_context(data_lock(folder, address="a pair of servers without web pages"))
        postgres = Postgres(folder, durable=durable, shared_buffers=shared_buffers)
        redis = Redis(folder, durable=durable)
        if not (durable if keep is None else keep):
            stack.callback(postgres.remove)
        for server in (postgres, redis):
            stack.callback(server.stop)
            server.start()
        yield Services(postgres, redis)
