"""The runner program as a process, a server of its contract, and agents."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette

from tests.compliance.engines.servers import scripted, serving, tool
from tests.compliance.runners.program.assay import TOKEN, Assay, Loop, loop
from tests.processes import HeldAgent, Process

Start = Callable[..., Process]
Serve = Callable[[Starlette], str]


@pytest.fixture(scope="module")
def background() -> Iterator[Loop]:
    with loop() as made:
        yield made


@pytest.fixture
def assay(background: Loop) -> Iterator[Assay]:
    server = Assay(background)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def serve(background: Loop) -> Serve:
    """Serves an agent until the module's tests have ended; returns its address."""
    return lambda app: background.enter(serving(app)) + "/mcp"


@pytest.fixture(scope="module")
def agent(serve: Serve) -> str:
    """An MCP agent in good order."""
    return serve(scripted(tools_list={"tools": [tool("one")]}))


@pytest.fixture
def held() -> Iterator[HeldAgent]:
    """An agent that answers nobody before it is told to."""
    made = HeldAgent()
    yield made
    made.close()


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    file.chmod(0o600)
    return file


@pytest.fixture
def start(assay: Assay, tmp_path: Path, token_file: Path) -> Iterator[Start]:
    """Starts the program against the server; the options given come after those that every test needs."""
    started: list[Process] = []

    def run(*options: Any, env: dict[str, str] | None = None, allow: str = "127.0.0.1") -> Process:
        process = Process(
            *(sys.executable, "-W", "error", "-m", "compliance.runners.program", "--url", assay.url),
            *("--token-file", str(token_file), "--state-dir", str(tmp_path / "state"), "--allow", allow),
            *map(str, options),
            log=tmp_path / f"runner{len(started)}.log",
            env={"ASSAY_RUNNER_TOKEN": "", **(env or {})},
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.stop()


def left(tmp_path: Path) -> list[str]:
    """What the state folder still keeps."""
    return sorted(
        str(path.relative_to(tmp_path / "state")) for path in (tmp_path / "state").glob("*/*") if os.path.isfile(path)
    )
