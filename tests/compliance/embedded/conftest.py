import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from compliance.embedded.processes import end_processes
from tests.servers import services

PROJECT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session")
def servers():
    with services(durable=False) as running:
        yield running


@pytest.fixture
def folder():
    """A data folder that PostgreSQL's user can reach; pytest's own temporary folders are closed to others."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="assay-test-", ignore_cleanup_errors=True) as path:
        Path(path).chmod(0o755)
        yield Path(path).resolve() / "data"


@pytest.fixture
def start():
    """Start Python programs that end with the test, whatever happens in it."""
    started = []

    def begin(*arguments, cwd=PROJECT, prefix=(), **options):
        process = subprocess.Popen(
            [*prefix, sys.executable, *map(str, arguments)],
            cwd=cwd,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        with process:  # closes its pipes
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(15)
                except subprocess.TimeoutExpired:
                    process.kill()


def kill_everything(supervisor):
    """The power goes: no process gets to say a word."""
    parent = psutil.Process(supervisor.pid)
    family = [*parent.children(recursive=True), parent]
    for send in (psutil.Process.suspend, psutil.Process.kill):
        for process in family:
            with suppress(psutil.NoSuchProcess):  # one that had its own end meanwhile
                send(process)
    supervisor.wait()
    assert none_lives(family)


def none_lives(processes):
    """Waits for their end without sending anything."""
    return end_processes(processes, [(signal.Signals.SIGCONT, 10.0)])
