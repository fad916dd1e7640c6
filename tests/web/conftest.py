"""A real web server on a database of its own, whose table of work the tests fill."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx
import psutil
import psycopg
import pytest

from tests.databases import create_database, drop_database
from tests.processes import Process, free_port, wait_for
from tests.services_plugin import WORKER

DATABASE = f"test_web_{WORKER}"
SUPERUSER_URL = os.environ["DATABASE_SUPERUSER_URL"]
TABLES = """
    CREATE TABLE work (
        id bigserial PRIMARY KEY, key text NOT NULL, kind text NOT NULL DEFAULT 'any', what text NOT NULL
    );
    CREATE TABLE asked (id bigserial PRIMARY KEY, name text NOT NULL);
    GRANT ALL ON work, asked, work_id_seq, asked_id_seq TO assay_app;
    CREATE FUNCTION waiting_work(wanted text[]) RETURNS TABLE (key text) LANGUAGE sql SECURITY DEFINER
        AS 'SELECT DISTINCT work.key FROM work WHERE work.key = ANY (wanted)'
"""


@pytest.fixture(scope="session")
def work_database() -> Iterator[psycopg.Connection[Any]]:
    """A superuser's connection to the database of the web servers below."""
    drop_database(SUPERUSER_URL, DATABASE)
    create_database(SUPERUSER_URL, DATABASE)
    with psycopg.connect(SUPERUSER_URL, dbname=DATABASE, autocommit=True) as connection:
        connection.execute(TABLES)
        yield connection
    drop_database(SUPERUSER_URL, DATABASE)


@pytest.fixture
def work(work_database: psycopg.Connection[Any]) -> psycopg.Connection[Any]:
    work_database.execute("TRUNCATE work, asked")
    return work_database


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(timeout=60, limits=limits, trust_env=False) as client:
        yield client


async def until(condition: Callable[[], Any], *, what: str) -> None:
    await asyncio.to_thread(wait_for, condition, what=what)


def put_work(
    connection: psycopg.Connection[Any], key: str, *whats: str, kind: str = "any", notify: bool = True
) -> None:
    """Queue work, and say so as the application does: in the same transaction."""
    with connection.transaction():
        for what in whats:
            connection.execute("INSERT INTO work (key, kind, what) VALUES (%s, %s, %s)", [key, kind, what])
        if notify:
            connection.execute("SELECT pg_notify('assay_work', %s)", [key])


def asked(connection: psycopg.Connection[Any], name: str = "") -> int:
    """How many times the application was asked, by this name or at all."""
    row = connection.execute("SELECT count(*) FROM asked WHERE name = %s OR %s = ''", [name, name]).fetchone()
    assert row is not None
    return int(row[0])


class Server:
    def __init__(self, process: Process, port: int) -> None:
        self.process = process
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    def send(self, number: signal.Signals) -> None:
        self.process.child.send_signal(number)

    async def poll(self, client: httpx.AsyncClient, *keys: str, wait: float = 30, **body: Any) -> httpx.Response:
        headers = {"Prefer": f"wait={wait:g}"} if wait else {}
        return await client.post(f"{self.url}/poll", json={"keys": keys, **body}, headers=headers)


@pytest.fixture
def serve(tmp_path: Path, work: psycopg.Connection[Any]) -> Iterator[Callable[..., Server]]:
    """Start a web server, which listens to the database when this returns."""
    with ExitStack() as stack:

        def start(*command: str, processes: int = 1, **environment: str) -> Server:
            port = free_port()
            process = Process(
                *(sys.executable, *(command or ("-m", "compliance.server"))),
                log=tmp_path / f"web-{port}.log",
                env={
                    **os.environ,
                    "DJANGO_SETTINGS_MODULE": "tests.web.served_settings",
                    "DATABASE_URL": urlunsplit(urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{DATABASE}")),
                    "PORT": str(port),
                    "WEB_CONCURRENCY": str(processes),
                    "STATIC_ROOT": str(tmp_path / "static"),
                    "ALLOWED_HOSTS": "localhost,127.0.0.1",
                    **environment,
                },
            )
            stack.callback(process.stop)
            server = Server(process, port)
            wait_for(lambda: answers(server), what="the web server")
            wait_for(lambda: listeners(work) == processes, what="listening")
            return server

        yield start


def answers(server: Server) -> bool:
    assert server.process.child.poll() is None, server.process.output()[-3000:]
    try:
        return httpx.get(f"{server.url}/healthz", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def holds(server: Server, count: int) -> Callable[[], bool]:
    """Whether the server's processes keep this many connections of clients open."""

    def look() -> bool:
        main = psutil.Process(server.process.child.pid)
        processes = [main, *main.children()]
        open_ = [
            found
            for process in processes
            for found in process.net_connections("tcp")
            if found.status == psutil.CONN_ESTABLISHED and found.laddr.port == server.port
        ]
        return len(open_) == count

    return look


def listeners(connection: psycopg.Connection[Any]) -> int:
    """How many web processes have said LISTEN."""
    row = connection.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND application_name = 'assay waiting runners'"
        " AND state = 'idle' AND query LIKE ANY (ARRAY['LISTEN%%', 'SELECT key%%'])",
        [DATABASE],
    ).fetchone()
    assert row is not None
    return int(row[0])
