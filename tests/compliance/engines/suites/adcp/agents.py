"""AdCP agents that others wrote: the examples of the npm package, as processes of their own on the loopback."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from compliance.engines import Credential, Report, Target
from compliance.engines.process.node_runtime import node, package
from compliance.engines.suites.adcp import AdcpEngine
from tests.processes import ROOT, Process, free_port

SDK = package("@adcp/sdk").path
CLI = SDK / "bin" / "adcp.js"
SIGNALS_TOKEN = "sk_harness_do_not_use_in_prod"  # what the example takes when nothing else is said
PYTHON = Path(sys.prefix) / "agents" / "bin" / "python"  # of the environment that scripts/install makes for them
LOCAL = ("127.0.0.1", "localhost")
SECONDS = 90.0


@contextmanager
def example(name: str, folder: Path, **env: str) -> Iterator[str]:
    """An example agent of the package; yields its address. Examples import the package by its name."""
    source = (SDK / "examples" / f"{name}.ts").read_text()
    home = folder / name
    home.mkdir(parents=True, exist_ok=True)
    (home / "package.json").write_text('{"type": "module"}')
    if not (home / "node_modules").exists():
        (home / "node_modules").symlink_to(SDK.parents[1])
    # The one thing that has to be changed: a port of its own for each.
    (home / "agent.ts").write_text(re.sub(r"\{ port: \d+ \}", "{ port: Number(process.env.PORT) }", source))
    environment = {"NODE_ENV": "development", "PORT": "0", **env}
    process = Process(os.fspath(node()), str(home / "agent.ts"), log=home / "log", env=environment)
    try:
        process.says("AdCP agent running at")
        found = re.search(r"AdCP agent running at http://localhost:(\d+)(\S+)", process.output())
        yield f"http://127.0.0.1:{found[1]}{found[2]}"
    finally:
        process.stop()
        (home / "log").unlink()


@contextmanager
def seller(folder: Path) -> Iterator[str]:
    """A media buy agent with faults, which needs no credential."""
    with example("error-compliant-server", folder) as url:
        yield url


@contextmanager
def adapter(name: str, platform: str, folder: Path) -> Iterator[str]:
    """An example behind a bearer token, with the platform behind it that it adapts, which the package has as well."""
    port = free_port()
    command = (os.fspath(node()), str(CLI), "mock-server", platform, "--port", str(port))
    process = Process(*command, log=folder / "platform.log")
    try:
        process.says("running at")
        with example(name, folder, UPSTREAM_URL=f"http://127.0.0.1:{port}") as url:
            yield url
    finally:
        process.stop()


def signals(folder: Path) -> AbstractContextManager[str]:
    return adapter("hello_signals_adapter_marketplace", "signal-marketplace", folder)


@contextmanager
def python_seller(folder: Path) -> Iterator[str]:
    """tests/agents/seller.py: a media buy agent on the server classes of the PyPI package adcp."""
    port = free_port()
    process = Process(str(PYTHON), str(ROOT / "tests/agents/seller.py"), str(port), log=folder / "python-seller.log")
    try:
        # Importing the package alone takes about 9 s of processor time: until then nothing listens.
        process.says("Application startup complete", seconds=100)
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.stop()


def target(url: str, **changes: Any) -> Target:
    values: dict[str, Any] = {"suite": "adcp", "allow": LOCAL, "deadline": SECONDS}
    if token := changes.pop("token", None):
        values["credential"] = Credential.bearer(token)
    return Target(url, **(values | changes))


async def check(url: str, **changes: Any) -> Report:
    return await AdcpEngine().run(target(url, **changes))


def official(url: str, folder: Path, *more: str, token: str = "") -> tuple[dict[str, Any], dict[str, Any], int]:
    """What the official command prints, its summary, and its exit code."""
    summary = folder / "summary.json"
    command = [os.fspath(node()), str(CLI), "storyboard", "run", url, *more, "--json", "--allow-http"]
    command += ["--summary-output", str(summary), *(["--auth", token] if token else [])]
    done = subprocess.run(
        command, capture_output=True, timeout=SECONDS, env={"HOME": str(folder), "PATH": "/usr/bin:/bin"}, check=False
    )
    return json.loads(done.stdout), json.loads(summary.read_text()), done.returncode


async def official_beside(url: str, folder: Path, *more: str, token: str = "") -> tuple[Any, Any, int]:
    """The same, where the agent is served by this event loop."""
    return await asyncio.to_thread(official, url, folder, *more, token=token)


class Scripted:
    """A small AdCP agent of ours, for what the examples do not do. An ASGI app at /mcp.

    tools: name to what a call of it answers, given its arguments and the request's headers.
    """

    def __init__(self, **tools: Callable[[dict[str, Any], dict[str, str]], Any]) -> None:
        self.tools = {"get_adcp_capabilities": lambda arguments, headers: CAPABILITIES, **tools}
        self.headers: list[dict[str, str]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        await (await self.answer(request))(scope, receive, send)

    async def answer(self, request: Request) -> Response:
        if request.url.path != "/mcp" or request.method != "POST":
            return Response(status_code=405 if request.url.path == "/mcp" else 404)
        asked = json.loads(await request.body())
        if "id" not in asked:
            return Response(status_code=202)
        headers = dict(request.headers)
        self.headers.append(headers)
        result = await self.result(asked["method"], asked.get("params") or {}, headers)
        return JSONResponse({"jsonrpc": "2.0", "id": asked["id"], "result": result})

    async def result(self, method: str, params: dict[str, Any], headers: dict[str, str]) -> Any:
        if method == "initialize":
            info = {"name": "scripted", "version": "1"}
            return {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": info}
        if method == "tools/list":
            return {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in self.tools]}
        arguments = params.get("arguments") or {}
        content = self.tools[params["name"]](arguments, headers)
        if inspect.isawaitable(content):
            content = await content
        if "context" in arguments:
            content = {**content, "context": arguments["context"]}
        return {"content": [{"type": "text", "text": json.dumps(content)}], "structuredContent": content}


CAPABILITIES = {
    "adcp": {"major_versions": [3], "idempotency": {"supported": True, "replay_ttl_seconds": 86400}},
    "supported_protocols": ["signals"],
    "status": "completed",
}
