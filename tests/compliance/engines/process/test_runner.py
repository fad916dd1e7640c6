"""Programs of engines stay inside their limits, see nothing of the worker, and leave nothing behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from compliance.engines.process.node_runtime import node
from compliance.engines.process.runner import Finished, ProcessLimits, SupervisorLost, run_process, scratch_folder
from tests.processes import ROOT, wait_for

pytestmark = pytest.mark.processes

AMPLE = ProcessLimits(seconds=30, memory_mb=600)

# Says its own pid, that of a child, that of a child in a session of its own, and that of one whose parent is
# gone and whose environment is empty; then goes on for ever.
FAMILY = """
import os, subprocess, sys, time
wait = [sys.executable, "-c", "import time; time.sleep(600)"]
print(os.getpid(), flush=True)
print(subprocess.Popen(wait).pid, flush=True)
print(subprocess.Popen(wait, start_new_session=True).pid, flush=True)
orphan = "import subprocess, sys; print(subprocess.Popen(sys.argv[1:], start_new_session=True, env={}).pid)"
subprocess.run([sys.executable, "-c", orphan, *wait], check=True)
print("ready", flush=True)
time.sleep(float(sys.argv[1]))
"""

FLOOD = [sys.executable, "-c", "while True: print('x' * 1000)"]


@pytest.fixture
def folder() -> Iterator[Path]:
    with scratch_folder() as path:
        yield path


def python(code: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", code, *arguments]


async def run(argv: list[str], folder: Path, limits: ProcessLimits = AMPLE, **more) -> Finished:
    return await run_process(argv, limits=limits, env={}, folder=folder, **more)


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Family:
    """Follows what FAMILY says about itself."""

    def __init__(self) -> None:
        self.pids: list[int] = []
        self.ready = asyncio.Event()

    def line(self, line: bytes) -> None:
        if line == b"ready":
            self.ready.set()
        else:
            self.pids.append(int(line))

    def survivors(self) -> list[int]:
        assert len(self.pids) == 4
        return [pid for pid in self.pids if alive(pid)]


async def test_program_gets_its_input_and_gives_its_output_lines_and_exit_code(folder: Path) -> None:
    lines: list[bytes] = []
    code = "import sys; print(sys.stdin.read().upper(), end=''); print('oh', file=sys.stderr); sys.exit(3)"
    done = await run(python(code), folder, stdin=b"one\ntwo", on_line=lines.append)

    assert (done.returncode, done.stdout, done.stderr, done.stopped) == (3, b"ONE\nTWO", "oh\n", "")
    assert lines == [b"ONE", b"TWO"]


async def test_program_without_input_reads_an_end(folder: Path) -> None:
    done = await run(python("import sys; print(repr(sys.stdin.read()))"), folder)

    assert done.stdout == b"''\n"


async def test_signal_that_ends_a_program_is_its_exit_code(folder: Path) -> None:
    done = await run(python("import os; os.kill(os.getpid(), 9)"), folder)

    assert (done.returncode, done.stopped) == (-signal.SIGKILL, "")


async def test_program_that_does_not_exist_is_an_error_of_the_system(folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match="cannot run /nowhere/engine"):
        await run(["/nowhere/engine"], folder)


async def test_nothing_of_the_workers_environment_leaks(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # V1
    for name in ("SECRET_KEY", "DATABASE_URL", "REDIS_URL", "GITHUB_TOKEN", "EMAIL_URL", "NODE_OPTIONS", "PYTHONPATH"):
        monkeypatch.setenv(name, "of-the-worker")
    code = """
import os
print(dict(os.environ))
if os.path.exists("/proc/self"):
    print(open(f"/proc/{os.getppid()}/environ").read(), open(f"/proc/{os.getppid()}/cmdline").read())
"""
    done = await run(python(code), folder)

    assert done.returncode == 0, done.stderr
    assert b"of-the-worker" not in done.stdout
    assert b"DATABASE_URL" not in done.stdout


async def test_no_open_file_of_the_worker_leaks(folder: Path) -> None:
    kept = os.open(folder, os.O_RDONLY)
    os.set_inheritable(kept, True)
    try:
        done = await run(python("import os; print(sorted(int(n) for n in os.listdir('/dev/fd')))"), folder)
    finally:
        os.close(kept)

    # The last one is the listing's own.
    assert json.loads(done.stdout)[:-1] == [0, 1, 2]


async def test_home_temporary_folder_and_working_folder_are_the_runs_own() -> None:
    code = "import os, tempfile; print(os.getcwd(), os.environ['HOME'], tempfile.gettempdir()); open('left', 'w')"
    with scratch_folder() as folder:
        done = await run(python(code), folder)
        assert (folder / "left").exists()
        assert {Path(text).resolve() for text in done.stdout.decode().split()} == {folder.resolve()}

    assert not folder.exists()


async def test_deadline_ends_a_program_with_all_its_children(folder: Path) -> None:
    family = Family()
    done = await run(python(FAMILY, "600"), folder, ProcessLimits(seconds=2, memory_mb=600), on_line=family.line)

    assert (done.stopped, done.returncode) == ("deadline", None)
    assert family.survivors() == []


async def test_what_a_program_leaves_behind_ends_with_it(folder: Path) -> None:
    family = Family()
    done = await run(python(FAMILY, "0"), folder, on_line=family.line)

    assert (done.stopped, done.returncode) == ("", 0)
    assert family.survivors() == []


async def test_cancelled_run_leaves_no_process(folder: Path) -> None:
    family = Family()
    task = asyncio.create_task(run(python(FAMILY, "600"), folder, on_line=family.line))
    await family.ready.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert family.survivors() == []


async def test_run_that_is_cancelled_in_a_flood_of_output_ends_at_once(folder: Path) -> None:
    flowing = asyncio.Event()
    limits = ProcessLimits(seconds=30, memory_mb=600, output_bytes=1024**3)
    task = asyncio.create_task(run(FLOOD, folder, limits, on_line=lambda _: flowing.set()))
    await flowing.wait()
    task.cancel()
    async with asyncio.timeout(5):
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_reader_of_lines_that_breaks_ends_the_program(folder: Path) -> None:
    family = Family()

    def broken(line: bytes) -> None:
        if line == b"ready":
            raise ValueError("cannot read this")
        family.line(line)

    with pytest.raises(ValueError, match="cannot read this"):
        await run(python(FAMILY, "600"), folder, on_line=broken)

    assert family.survivors() == []


async def test_memory_is_that_of_all_processes_together(folder: Path) -> None:
    # Each of them alone stays well below the limit.
    code = """
import subprocess, sys, time
one = "import time; held = bytearray(b'x') * 60_000_000; time.sleep(600)"
for _ in range(4): subprocess.Popen([sys.executable, "-c", one])
time.sleep(600)
"""
    done = await run(python(code), folder, ProcessLimits(seconds=30, memory_mb=180))

    assert (done.stopped, done.returncode) == ("memory", None)
    assert done.peak_mb > 180


async def test_v8_that_takes_more_memory_than_it_may_is_stopped(folder: Path) -> None:
    grow = [str(node()), "-e", "const kept = []; setInterval(() => kept.push(Buffer.alloc(10e6, 1)), 10)"]
    done = await run(grow, folder, ProcessLimits(seconds=30, memory_mb=250))

    assert done.stopped == "memory"


async def test_flood_of_output_is_cut_at_the_limit(folder: Path) -> None:
    limits = ProcessLimits(seconds=30, memory_mb=300, output_bytes=100_000)
    done = await run(FLOOD, folder, limits)

    assert (done.stopped, done.returncode, len(done.stdout)) == ("output", None, 100_000)
    assert done.seconds < 10


async def test_flood_of_messages_keeps_its_end(folder: Path) -> None:
    code = "import sys; sys.stderr.write('x' * 5_000_000 + 'the end')"
    done = await run(python(code), folder)

    assert done.returncode == 0
    assert done.stderr.endswith("xthe end")
    assert len(done.stderr) <= 64 * 1024


async def test_program_that_starts_processes_without_end_is_stopped(folder: Path) -> None:
    limits = ProcessLimits(seconds=30, memory_mb=2000, processes=10)
    done = await run(["/bin/sh", "-c", "while :; do sleep 600 & done"], folder, limits)

    assert done.stopped == "processes"
    assert not [p for p in psutil.process_iter(["cmdline", "cwd"]) if p.info["cwd"] == str(folder)]


async def test_file_larger_than_allowed_is_not_written(folder: Path) -> None:
    limits = ProcessLimits(seconds=30, memory_mb=300, file_bytes=100_000)
    write = "require('fs').writeFileSync('big', Buffer.alloc(1e6))"
    done = await run([str(node()), "-e", write], folder, limits)

    assert done.returncode != 0
    assert (folder / "big").stat().st_size <= 100_000


WORKER = """
import asyncio, sys
from pathlib import Path
from compliance.engines.process.runner import ProcessLimits, run_process

asyncio.run(run_process(
    [sys.executable, "-c", sys.argv[2], "600"], limits=ProcessLimits(600, 600), env={}, folder=Path(sys.argv[1]),
    on_line=lambda line: print(line.decode(), flush=True)))
"""


def test_killed_worker_takes_its_programs_along(folder: Path) -> None:
    worker = subprocess.Popen([sys.executable, "-c", WORKER, str(folder), FAMILY], cwd=ROOT, stdout=subprocess.PIPE)
    with worker:
        assert worker.stdout is not None
        pids = [int(worker.stdout.readline()) for _ in range(4)]
        assert worker.stdout.readline() == b"ready\n"
        assert all(alive(pid) for pid in pids)
        worker.kill()

    wait_for(lambda: not any(alive(pid) for pid in pids), seconds=10, what="the end of what the worker had started")


def test_killed_worker_leaves_no_scratch_folder(folder: Path) -> None:  # V1
    """What an official runner wrote there may quote an agent that echoes the credential."""
    code = (
        "import asyncio; from pathlib import Path;"
        " from compliance.engines.process.runner import ProcessLimits, run_process, scratch_folder\n"
        "with scratch_folder() as folder:\n"
        " print(folder, flush=True)\n"
        " limits = ProcessLimits(seconds=60, memory_mb=100)\n"
        " told = lambda line: print('written', flush=True)\n"
        " argv = ['/bin/sh', '-c', 'echo token > kept; echo; sleep 60']\n"
        " asyncio.run(run_process(argv, limits=limits, env={}, folder=folder, on_line=told))\n"
    )
    worker = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE)
    with worker:
        assert worker.stdout is not None
        scratch = Path(worker.stdout.readline().decode().strip())
        assert worker.stdout.readline() == b"written\n"
        assert (scratch / "kept").exists()
        worker.kill()

    wait_for(lambda: not scratch.exists(), seconds=10, what="the end of the folder")


async def test_killed_supervisor_takes_its_programs_along(folder: Path) -> None:
    family = Family()
    # The one without its environment's marker is beyond reach when its supervisor is gone.
    code = FAMILY.replace("env={}", "env=os.environ").replace(
        "import subprocess, sys; print", "import os, subprocess, sys; print"
    )
    task = asyncio.create_task(run(python(code, "600"), folder, on_line=family.line))
    await family.ready.wait()
    psutil.Process(family.pids[0]).parent().kill()
    with pytest.raises(SupervisorLost):
        await task

    assert family.survivors() == []


async def test_many_programs_at_once_do_not_meet(folder: Path) -> None:
    done = await asyncio.gather(*(run(python("import sys; print(sys.argv[1])", str(n)), folder) for n in range(8)))

    assert [int(each.stdout) for each in done] == list(range(8))
