"""What a hostile program beside a worker, the web or a runner could read of them: the keys they were started with."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.processes import ROOT, Process, free_port, wait_for

pytestmark = [pytest.mark.processes, pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")]

KEYS = "vault-keys-of-this-test"
# Root may look into everybody. Without those rights (to trace, to administer, to measure) it is a user like any other,
# and so are these tests where they run as one. Dropped before the program begins, so that both have the same rights.
_WITHOUT_TRACING = """
import ctypes, os, sys
for capability in (19, 21, 38):
    ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
_HELD = """
import sys
from compliance.engines.process.runner import hide_from_programs
if sys.argv[1] == "hidden": hide_from_programs()
print("ready.", flush=True)
sys.stdin.read()
"""
_READ = """
import sys
for name in ("environ", "maps", "mem"):
    try:
        with open(f"/proc/{sys.argv[1]}/{name}", "rb") as file:
            found = file.read(100_000) if name != "mem" else b"open"
        print(name, "keys" if sys.argv[2].encode() in found else "read")
    except PermissionError:
        print(name, "refused")
"""


def beside(pid: int) -> dict[str, str]:
    """What another program of the same user gets to see of a process."""
    command = [sys.executable, "-c", _WITHOUT_TRACING, "-c", _READ, str(pid), KEYS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return dict(line.split() for line in done.stdout.splitlines())


@pytest.mark.parametrize(("how", "environ", "rest"), [("open", "keys", "read"), ("hidden", "refused", "refused")])
def test_a_hidden_process_shows_no_other_its_environment(how: str, environ: str, rest: str) -> None:
    held = subprocess.Popen(
        [sys.executable, "-c", _WITHOUT_TRACING, "-c", _HELD, how],
        cwd=ROOT,
        env={**os.environ, "ASSAY_VAULT_KEYS": KEYS},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with held:
        assert held.stdout is not None
        assert held.stdin is not None
        assert held.stdout.readline() == b"ready.\n"
        seen = beside(held.pid)
        held.stdin.close()
    assert seen == {"environ": environ, "maps": rest, "mem": rest}


@pytest.mark.parametrize(
    ("program", "says"),
    [(("worker", "--pool=threads", "--concurrency=1"), " ready."), (("beat", "--schedule={}/beat"), "beat: Starting")],
)
def test_workers_and_the_beat_are_hidden(tmp_path: Path, program: tuple[str, ...], says: str) -> None:  # V1
    arguments = [part.format(tmp_path) for part in program]
    process = Process(
        *(sys.executable, "-c", _WITHOUT_TRACING, "-m", "celery", "-A", "compliance.celery:app", *arguments),
        "--loglevel=info",
        log=tmp_path / "log",
    )
    try:
        process.says(says)
        assert beside(process.child.pid)["environ"] == "refused"
    finally:
        process.stop()


def test_the_web_server_is_hidden_with_all_its_processes(tmp_path: Path) -> None:  # V1
    process = Process(
        *(sys.executable, "-c", _WITHOUT_TRACING, "-m", "compliance.server"),
        log=tmp_path / "log",
        env={"PORT": str(free_port()), "WEB_CONCURRENCY": "2", "ASSAY_VAULT_KEYS": KEYS},
    )
    try:
        process.says("Application startup complete")
        wait_for(lambda: process.output().count("Application startup complete") == 2, what="both processes")
        family = [process.child.pid, *(child.pid for child in psutil.Process(process.child.pid).children())]
        seen = [beside(pid)["environ"] for pid in family]
        # Python's own helper of several processes was started without any environment.
        assert sorted(seen) == ["read", "refused", "refused", "refused"]
    finally:
        process.stop()


def test_a_private_runner_is_hidden(tmp_path: Path) -> None:  # V2
    process = Process(
        *(sys.executable, "-c", _WITHOUT_TRACING, "-m", "compliance.runners.program", "--state-dir", str(tmp_path)),
        *("--url", f"http://127.0.0.1:{free_port()}", "--allow", "127.0.0.1"),
        log=tmp_path / "log",
        env={"ASSAY_RUNNER_TOKEN": "asr_test0001_" + "k" * 43},
    )
    try:
        process.says("no work could be asked for")
        assert beside(process.child.pid)["environ"] == "refused"
    finally:
        process.stop()
