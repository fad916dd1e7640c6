"""The whole of `make run`: the real servers and Celery, and small stand-ins for Assay's own programs."""

import json
import os
import re
import resource
import shutil
import signal
import socket
import time
import urllib.request
from contextlib import ExitStack

import psutil
import pytest

from tests.compliance.embedded.conftest import PROJECT, kill_everything, none_lives
from tests.processes import free_port, wait_for

pytestmark = pytest.mark.processes

MANAGE = """
import os, sys
print("step", sys.argv[1], "as owner" if "assay_owner" in os.environ.get("DATABASE_OWNER_URL", "") else "as app")
if sys.argv[1] == "seed_demo":
    print("log in as demo@example.com")
sys.exit(3 if sys.argv[1] == os.environ.get("FAILING_STEP") else 0)
"""
WSGI = """
import os
from django.conf import settings
import environ
url = environ.Env().db_url("DATABASE_URL")
settings.configure(
    DATABASES={"default": url},
    RUNNER_WAIT_MAX_SECONDS=55,
    RUNNER_WAIT_MAX_POLLS=500,
    RUNNER_WAIT_SCAN_SECONDS=15,
)
def application(environ, start_response):
    if environ.get("assay.wait"):
        environ["assay.wait"].keys = ["runner:1"]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [os.environ["ASSAY_EGRESS_ALLOW"].encode()]
"""
CELERY = """
import os
from celery import Celery
app = Celery("standin", broker=os.environ["REDIS_URL"])
app.conf.broker_connection_retry_on_startup = True
"""
AGENTS = """
import json, os, signal, socket, sys
from pathlib import Path
note = Path(sys.argv[sys.argv.index("--port-file") + 1])
try:
    taken = socket.create_server(("127.0.0.1", int(note.read_text()) if note.exists() else 0))
except OSError:
    sys.exit("Port " + note.read_text() + " is taken.")
port = taken.getsockname()[1]
note.write_text(str(port))
print(json.dumps({"good": f"http://127.0.0.1:{port}/mcp"}), flush=True)
signal.pause()
"""

RUNNER = """
import os, signal, sys
from pathlib import Path
print(sorted(os.environ), Path(sys.argv[sys.argv.index("--allow-file") + 1]).read_text(), flush=True)
if status := os.environ.get("A2A_TCK_PATH"):
    sys.exit(int(status))
signal.pause()
"""


@pytest.fixture
def project(folder):
    root = folder.parent / "project"
    shutil.copytree(
        PROJECT / "compliance" / "embedded", root / "compliance" / "embedded", ignore=lambda *_: {"__pycache__"}
    )
    shutil.copytree(
        PROJECT / "compliance" / "engines", root / "compliance" / "engines", ignore=lambda *_: {"__pycache__"}
    )
    for name in ("server.py", "asgi.py", "runners/__init__.py", "runners/waiting.py"):
        (root / "compliance" / name).parent.mkdir(exist_ok=True)
        shutil.copy(PROJECT / "compliance" / name, root / "compliance" / name)
    (root / "compliance" / "__init__.py").touch()
    (root / "manage.py").write_text(MANAGE)
    for name, text in (("wsgi", WSGI), ("celery", CELERY), ("demo_agents", AGENTS)):
        (root / "compliance" / f"{name}.py").write_text(text)
    program = root / "compliance" / "runners" / "program"
    program.mkdir(parents=True)
    (program / "__main__.py").write_text(RUNNER)
    (root / "compliance" / "tenancy").mkdir()
    for name in ("__init__", "database_roles"):
        shutil.copy(PROJECT / "compliance" / "tenancy" / f"{name}.py", root / "compliance" / "tenancy")
    return root


@pytest.fixture
def begin(start, project, folder):
    port = free_port()
    clean = {name: value for name, value in os.environ.items() if not name.endswith("_URL")}

    def run(preexec_fn=None, **environment):
        process = start(
            *("-m", "compliance.embedded", "run"),
            cwd=project,
            env={**clean, "PORT": str(port), "DATA_DIR": str(folder), "WEB_CONCURRENCY": "1", **environment},
            preexec_fn=preexec_fn,
        )
        process.port = port
        return process

    return run


def read_until(process, text):
    lines = []
    for line in process.stdout:
        lines.append(line)
        if text in line:
            return "".join(lines)
    raise AssertionError("".join(lines) + process.stderr.read())


def recorded(folder, program):
    return psutil.Process(int((folder / "log" / f"{program}.pid").read_text().split()[0]))


def get(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
        return answer.read().decode()


def test_it_starts_everything_restarts_what_dies_and_stops_cleanly(begin, folder):
    process = begin()
    output = read_until(process, "Ctrl-C stops everything")
    assert f"http://localhost:{process.port}" in output
    assert "log in as demo@example.com" in output
    assert get(process.port).split(",")[-1].startswith("127.0.0.1:")
    # What other terminals read has the ports that the servers really got, and nobody else may read it.
    environment = folder / "env"
    assert re.search(r"DATABASE_URL=postgresql://assay_app:[^@]+@127\.0\.0\.1:\d+/assay", environment.read_text())
    assert re.search(r"REDIS_URL=redis://[^@]+@127\.0\.0\.1:\d+/0", environment.read_text())
    assert environment.stat().st_mode & 0o777 == 0o600
    # Only the migration may change tables.
    assert "as owner" in (folder / "log" / "migrate.log").read_text()
    assert "as app" in (folder / "log" / "suites.log").read_text()

    # The demo's private runner stands for another machine: it has no key, and may test the demo's agents alone.
    seen = wait_for((folder / "log" / "runner.log").read_text, what="the runner's start")
    assert "PATH" in seen
    assert not re.search(r"SECRET_KEY|VAULT|_URL", seen)
    assert re.search(r"^\S.* 127\.0\.0\.1:\d+$", seen, re.MULTILINE)

    second = begin()
    assert second.wait(20) == 1
    refusal = second.stderr.read()
    assert str(process.pid) in refusal
    assert f"http://localhost:{process.port}" in refusal

    recorded(folder, "web").kill()
    read_until(process, "web runs again")

    family = psutil.Process(process.pid).children(recursive=True)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.wait(15) == 0
    assert time.monotonic() - began < 10
    assert none_lives(family)
    assert "Everything has stopped." in process.stdout.read()


def test_demo_agents_keep_their_addresses_or_the_start_is_refused(begin, folder):
    process = begin()
    read_until(process, "Ctrl-C stops everything")
    port = int((folder / "demo-port-base").read_text())
    addresses = {"good": f"http://127.0.0.1:{port}/mcp"}
    assert json.loads((folder / "demo-agents.json").read_text()) == addresses
    assert get(process.port).split(",")[-1] == f"127.0.0.1:{port}"

    # Those that die come back to the same place.
    recorded(folder, "demo-agents").kill()
    read_until(process, "demo agents runs again")
    process.send_signal(signal.SIGINT)
    assert process.wait(15) == 0

    with socket.create_server(("127.0.0.1", port)):
        refused = begin()
        assert refused.wait(60) == 1
        assert f"Port {port} is taken" in refused.stderr.read()
        assert "demo data" not in refused.stdout.read(), "nothing is made a second time, at other addresses"
    again = begin()
    read_until(again, "Ctrl-C stops everything")
    assert json.loads((folder / "demo-agents.json").read_text()) == addresses
    again.send_signal(signal.SIGINT)
    assert again.wait(15) == 0


def test_a_disk_that_is_full_ends_it_in_one_line_and_the_next_start_goes_on(begin, folder):
    process = begin()
    read_until(process, "Ctrl-C stops everything")
    family = psutil.Process(process.pid).children(recursive=True)
    # No file of the supervisor's may grow any more, as when there is no room.
    psutil.Process(process.pid).rlimit(psutil.RLIMIT_FSIZE, (0, 0))
    recorded(folder, "redis").kill()
    assert process.wait(30) == 1
    refusal = process.stderr.read()
    assert refusal.startswith("Assay has stopped: ")
    assert refusal.count("\n") == 1
    assert "Everything has stopped." in process.stdout.read()
    assert none_lives(family)

    full = begin(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)))
    assert full.wait(30) == 1
    assert re.fullmatch(r"Assay has stopped: .*\n", full.stderr.read())

    again = begin()
    read_until(again, "Ctrl-C stops everything")
    again.send_signal(signal.SIGINT)
    assert again.wait(15) == 0


def test_all_goes_on_without_a_runner_that_says_it_cannot_work_here(begin):
    process = begin(A2A_TCK_PATH="3")
    read_until(process, "runner ended with exit code 3; the rest goes on without it")
    assert get(process.port)
    process.send_signal(signal.SIGINT)
    assert process.wait(15) == 0


def test_it_stops_as_soon_while_runners_wait_for_work(begin):
    process = begin()
    read_until(process, "Ctrl-C stops everything")
    with ExitStack() as waiting:
        runners = [waiting.enter_context(socket.create_connection(("127.0.0.1", process.port))) for _ in range(300)]
        for runner in runners:
            runner.settimeout(10)
            runner.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nPrefer: wait=50\r\n\r\n")
        time.sleep(1)  # nothing outside tells that a request is held
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert all(runner.recv(1000).startswith(b"HTTP/1.1 200 OK") for runner in runners)
        assert process.wait(15) == 0
        assert time.monotonic() - began < 10


def test_it_starts_again_after_everything_was_killed(begin):
    process = begin()
    read_until(process, "Ctrl-C stops everything")
    kill_everything(process)
    again = begin()
    read_until(again, "Ctrl-C stops everything")
    assert get(again.port)


def test_it_starts_again_after_the_web_servers_main_process_was_killed_with_the_supervisor(begin, folder):
    process = begin(WEB_CONCURRENCY="2")
    read_until(process, "Ctrl-C stops everything")
    web = recorded(folder, "web")
    children = web.children()
    for one in (psutil.Process(process.pid), web):
        one.suspend()
    for one in (web, psutil.Process(process.pid)):
        one.kill()
    process.wait()
    again = begin(WEB_CONCURRENCY="2")
    read_until(again, "Ctrl-C stops everything")
    assert none_lives(children)
    assert get(again.port)


def test_nothing_lingers_when_the_supervisor_alone_is_killed(begin):
    process = begin()
    read_until(process, "Ctrl-C stops everything")
    family = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    assert none_lives(family)


def test_a_failing_step_shows_its_log_and_leaves_nothing(begin):
    process = begin(FAILING_STEP="migrate")
    assert process.wait(20) == 1
    message = process.stderr.read()
    assert "migrate ended with exit code 3" in message
    assert "step migrate" in message
    assert "static" not in process.stdout.read()


def test_a_busy_port_is_named_with_the_way_out(begin):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        process = begin(PORT=str(other.getsockname()[1]))
        assert process.wait(20) == 1
    assert "PORT=" in process.stderr.read()


def test_a_database_of_ones_own_needs_its_owner(begin):
    process = begin(DATABASE_URL="postgresql://somewhere/else")
    assert process.wait(20) == 1
    assert "DATABASE_OWNER_URL" in process.stderr.read()


@pytest.mark.parametrize("below", ["", "folder"])
def test_a_data_folder_that_is_a_file_is_named_with_the_way_out(begin, folder, below):
    folder.write_text("somebody's")
    process = begin(DATA_DIR=str(folder / below))
    assert process.wait(20) == 1
    assert process.stderr.read() == f"{folder / below} is not a folder. DATA_DIR= names another one.\n"
    assert folder.read_text() == "somebody's"
