"""Redis on the same machine, reached by its socket: every part finds it by the one address."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from compliance.embedded.servers import redis_binary
from tests.processes import ROOT, Process, wait_for, worker

pytestmark = pytest.mark.processes

PASSWORD = "with/signs@of?urls"


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """A server that listens at no port; its address as the environment names it."""
    server = Process(
        *(
            str(redis_binary()),
            "--port",
            "0",
            "--unixsocket",
            str(tmp_path / "redis.sock"),
            "--requirepass",
            PASSWORD,
            "--save",
            "",
        ),
        log=tmp_path / "redis.log",
    )
    try:
        wait_for((tmp_path / "redis.sock").exists, what="the socket")
        yield f"unix://:{quote(PASSWORD, safe='')}@{tmp_path / 'redis.sock'}?db=3"
    finally:
        server.stop()


def celery(*arguments: str, redis_url: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "celery", "-A", "compliance.celery:app", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, "REDIS_URL": redis_url}, capture_output=True, text=True, timeout=60
    )


def keys(redis_url: str) -> str:
    """What is kept there, as another process sees it: this one may open sockets of the network alone."""
    script = "import redis, sys; print(redis.Redis.from_url(sys.argv[1]).keys('*'))"
    return subprocess.run([sys.executable, "-c", script, redis_url], capture_output=True, text=True, timeout=60).stdout


def test_a_worker_is_reached_by_a_socket_and_in_the_database_that_it_names(address: str, tmp_path: Path) -> None:
    with worker(tmp_path / "worker.log", env={"REDIS_URL": address}):
        assert "pong" in celery("inspect", "ping", redis_url=address).stdout
        assert "_kombu" in keys(address)
        assert keys(address.replace("db=3", "db=0")).strip() == "[]"


def test_an_address_that_is_no_redis_is_refused() -> None:
    done = celery("report", redis_url="amqp://localhost/")
    assert "REDIS_URL must be a redis://, rediss:// or unix:// address" in done.stderr
