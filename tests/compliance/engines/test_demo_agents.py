"""The demo agents, as the command serves them, and what the baseline finds in each."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from compliance.demo_agents import AGENTS, urls
from compliance.engines import Overall
from tests.compliance.engines.servers import check, step
from tests.processes import free_ports

pytestmark = pytest.mark.processes


@pytest.fixture
async def demo() -> AsyncIterator[dict[str, str]]:
    command = [sys.executable, "-W", "error", "-m", "compliance.demo_agents"]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    line = await process.stdout.readline()
    yield json.loads(line)
    process.send_signal(signal.SIGTERM)
    _, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()


async def test_each_agent_is_found_to_be_what_it_is_meant_to_be(demo: dict[str, str]) -> None:
    assert set(demo) == {agent.name for agent in AGENTS}
    library, weather, closed, payroll, translator, archive, signals = await asyncio.gather(
        check(demo["library"], protocol=""),
        check(demo["weather"], protocol=""),
        check(demo["payroll"], protocol=""),
        check(demo["payroll"], protocol="", token=next(a.token for a in AGENTS if a.name == "payroll")),
        check(demo["translator"], protocol="", options={"allow_side_effects": True}),
        check(demo["archive"], protocol=""),
        check(demo["signals"], protocol=""),
    )

    assert library.overall() is Overall.PASSING
    assert weather.overall() is Overall.PARTIAL
    for key in ("tool/forecast", "tool/warnings"):
        assert step(weather, "mcp/schemas", key).verdict == "failed"
    assert step(weather, "mcp/calls", "call/current_weather").verdict == "failed"
    assert step(weather, "mcp/errors", "unknown_tool").verdict == "failed"
    assert step(closed, "mcp/auth", "metadata").verdict == "passed"
    assert closed.overall() is Overall.INCONCLUSIVE
    assert payroll.overall() is Overall.PASSING
    assert step(payroll, "mcp/auth", "accepted").verdict == "passed"
    assert (translator.protocol, translator.overall()) == ("a2a", Overall.PASSING)
    assert archive.overall() is Overall.FAILING
    assert signals.overall() is Overall.PASSING  # E7: its tools refuse calls without their arguments, as they may
    assert signals.observations["tools"] == 3


async def test_slow_agent_can_be_served_alone_and_stops_on_interrupt() -> None:
    command = [sys.executable, "-m", "compliance.demo_agents", "--only", "shipping"]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    served = json.loads(await process.stdout.readline())
    report = await check(served["shipping"], options={"scenarios": ["connectivity/reach"]})
    process.send_signal(signal.SIGINT)

    assert await process.wait() == 0
    assert set(served) == {"shipping"}
    assert report.observations["latency_ms"] > 100


def test_agents_have_stable_places_from_one_port_base() -> None:
    places = urls(9100)

    assert places["library"] == "http://127.0.0.1:9100/mcp"
    assert len(set(places.values())) == len(AGENTS)


async def test_the_example_that_node_runs_goes_with_who_started_it_however_that_ends() -> None:
    command = [sys.executable, "-m", "compliance.demo_agents", "--only", "signals"]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    served = json.loads(await process.stdout.readline())
    (example,) = psutil.Process(process.pid).children()
    report = await check(served["signals"], options={"scenarios": ["connectivity/reach"]})
    listens = {connection.laddr.ip for connection in example.net_connections() if connection.status == "LISTEN"}
    knows = set(example.environ())
    process.kill()
    await process.wait()

    gone, _ = await asyncio.to_thread(psutil.wait_procs, [example], 20)
    assert gone == [example]
    assert report.counts()["failed"] == 0
    assert listens == {"127.0.0.1"}
    assert knows <= {"NODE_ENV", "LISTEN_FD"}  # V1: nothing of the keys of who started it


async def test_without_the_npm_package_the_others_are_served_and_it_is_said() -> None:
    code = (
        "from pathlib import Path; from compliance.engines.process import node_runtime;"
        "node_runtime.MODULES = Path('/none');"
        "from compliance.demo_agents.__main__ import main; main()"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    served = json.loads(await process.stdout.readline())
    process.send_signal(signal.SIGTERM)
    _, errors = await process.communicate()

    assert set(served) == {agent.name for agent in AGENTS} - {"signals"}
    assert "Audience signals is not served. The npm package @adcp/sdk is not installed." in errors.decode()
    assert process.returncode == 0


async def test_of_two_that_begin_at_the_same_ports_one_serves_and_one_says_that_they_are_taken(tmp_path: Path) -> None:
    base = free_ports(len(AGENTS))
    command = [sys.executable, "-m", "compliance.demo_agents", "--port-base", str(base)]
    with open(tmp_path / "log", "wb") as log:
        both = [
            await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, stderr=log) for _ in range(2)
        ]
    lines = await asyncio.gather(*(one.stdout.readline() for one in both if one.stdout))
    assert sorted(map(bool, lines)) == [False, True]
    loser, winner = sorted(both, key=lambda one: bool(lines[both.index(one)]))
    assert await loser.wait() == os.EX_TEMPFAIL
    assert f"Port {base} is taken by another program.\n" in (tmp_path / "log").read_text()
    winner.send_signal(signal.SIGTERM)
    assert await winner.wait() == 0


def keeping(note: Path) -> list[str]:
    quick = (
        "import sys; from compliance.demo_agents import __main__ as demo; demo.WAIT_SECONDS = 2; sys.exit(demo.main())"
    )
    return [sys.executable, "-c", quick, "--port-file", str(note)]


async def test_agents_keep_the_ports_of_their_first_start(tmp_path: Path) -> None:
    note = tmp_path / "port"
    for _ in range(2):
        process = await asyncio.create_subprocess_exec(*keeping(note), stdout=asyncio.subprocess.PIPE)
        assert process.stdout is not None
        served = json.loads(await process.stdout.readline())
        assert served == urls(int(note.read_text()))
        # Somebody else who begins meanwhile gets others.
        other = await asyncio.create_subprocess_exec(*keeping(tmp_path / "other"), stdout=asyncio.subprocess.PIPE)
        assert other.stdout is not None
        assert not set(json.loads(await other.stdout.readline()).values()) & set(served.values())
        for one in (process, other):
            one.send_signal(signal.SIGTERM)
            assert await one.wait() == 0


@pytest.mark.parametrize("briefly", [True, False])
async def test_agents_wait_for_a_port_that_is_taken_and_say_which(tmp_path: Path, briefly: bool) -> None:
    note = tmp_path / "port"
    base = free_ports(len(AGENTS))
    note.write_text(str(base))
    with socket.create_server(("127.0.0.1", base + 1)) as rival:
        process = await asyncio.create_subprocess_exec(
            *keeping(note), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        if briefly:
            await asyncio.sleep(0.5)
            rival.close()
            assert json.loads(await process.stdout.readline()) == urls(base)
            process.send_signal(signal.SIGTERM)
            await process.communicate()
        else:
            _, errors = await process.communicate()
            assert process.returncode == os.EX_TEMPFAIL
            assert f"Port {base + 1} is taken by another program." in errors.decode()
    assert note.read_text() == str(base)
