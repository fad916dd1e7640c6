"""Serve the demo agents on 127.0.0.1 until told to stop: `python -m compliance.demo_agents --port-base 9100`."""

from __future__ import annotations

import argparse
import asyncio
import errno
import json
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette

from compliance.demo_agents import AGENTS, DemoAgent
from compliance.demo_agents.a2a_agents import translator
from compliance.demo_agents.example import start_example
from compliance.demo_agents.mcp_agents import library, payroll, shipping, weather
from compliance.engines.process.node_runtime import RuntimeMissing

HOST = "127.0.0.1"
APPS = {"library": library, "weather": weather, "payroll": payroll, "translator": translator, "shipping": shipping}
FIRST_PORT, PORTS = 9100, 16
WAIT_SECONDS = 20.0


class PortTaken(Exception):
    """Another program listens where an agent was to be served."""


def _open(port: int, *, listens: bool) -> socket.socket:
    """A socket at the port. Raises PortTaken."""
    # With the protocol named, asyncio turns Nagle's algorithm off on what this accepts; else each answer waits 40 ms.
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((HOST, port))
        if listens:
            # At once, and not when its server is ready: until somebody listens, any number of programs get a port.
            sock.listen()
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(f"Port {port} is taken by another program.") from None
        raise
    return sock


Sockets = dict[DemoAgent, socket.socket]


def _open_all(base: int) -> Sockets:
    """Each agent's socket, its place in the list added to the base; at ports that the system chooses when it is 0."""
    with ExitStack() as opened:
        sockets = {
            agent: opened.enter_context(_open(base + index if base else 0, listens=agent.listens))
            for index, agent in enumerate(AGENTS)
        }
        opened.pop_all()
        return sockets


def _open_again(base: int) -> Sockets:
    """At ports by which others know the agents. Raises PortTaken for one that does not come free."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            return _open_all(base)
        except PortTaken as taken:
            if time.monotonic() > deadline:
                raise PortTaken(
                    f"{taken} The demo's agents are known by the ports from {base} to {base + len(AGENTS) - 1}. "
                    "End that program and start again; or start with another DATA_DIR=, or with ASSAY_DEMO=0."
                ) from None
            time.sleep(0.2)


def _open_noted(note: Path) -> Sockets:
    """At the ports of the note; without one, at the first free ones, which are noted."""
    if note.exists():
        return _open_again(int(note.read_text()))
    for base in range(FIRST_PORT, 65_536 - PORTS, PORTS):
        try:
            sockets = _open_all(base)
        except PortTaken:
            continue
        note.write_text(str(base))
        return sockets
    raise PortTaken("No free ports for the demo agents. ASSAY_DEMO=0 runs without them.")


async def serve(sockets: Sockets) -> None:
    """Until told to stop."""
    logging.getLogger("a2a").setLevel(logging.ERROR)  # it warns of every unknown method, and tests ask for one
    addresses: dict[str, str] = {}
    apps: dict[int, Starlette] = {}
    served = []
    for agent, sock in sockets.items():
        port = sock.getsockname()[1]
        addresses[agent.name] = url = agent.url(port)
        if agent.example:
            try:
                await start_example(agent.example, sock)
            except RuntimeMissing as missing:
                sys.stderr.write(f"{agent.title} is not served. {missing}\n")
                sock.close()
                del addresses[agent.name]
        elif agent.listens:  # else bound but not listening: connections are refused, and nobody else takes the port
            apps[port] = APPS[agent.name](url)
            served.append(sock)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for app in apps.values():
                await stack.enter_async_context(app.router.lifespan_context(app))
            sys.stdout.write(json.dumps(addresses) + "\n")
            sys.stdout.flush()
            yield

    start_and_stop = Starlette(lifespan=lifespan)

    async def by_port(scope: Any, receive: Any, send: Any) -> None:
        app = start_and_stop if scope["type"] == "lifespan" else apps[scope["server"][1]]
        await app(scope, receive, send)

    for number in (signal.SIGTERM, signal.SIGINT):  # uvicorn ends at these, and raises them again
        signal.signal(number, lambda number, frame: None)
    config = uvicorn.Config(by_port, log_level="warning", lifespan="on", timeout_graceful_shutdown=2)
    await uvicorn.Server(config).serve(sockets=served)


def main() -> int:
    """The exit code: os.EX_TEMPFAIL when a port is taken."""
    parser = argparse.ArgumentParser(prog="python -m compliance.demo_agents", description=__doc__)
    parser.add_argument("--port-base", type=int, default=0, help="first port; without it the system chooses")
    parser.add_argument("--port-file", type=Path, help="where the first port is noted at the first start, and kept")
    parser.add_argument("--only", choices=[agent.name for agent in AGENTS], help="serve one agent")
    parser.add_argument("--port", type=int, default=0, help="the port of that one agent")
    arguments = parser.parse_args()
    try:
        if arguments.only:
            agent = next(agent for agent in AGENTS if agent.name == arguments.only)
            sockets = {agent: _open(arguments.port, listens=agent.listens)}
        elif arguments.port_file:
            sockets = _open_noted(arguments.port_file)
        else:
            sockets = _open_all(arguments.port_base)
        asyncio.run(serve(sockets))
    except PortTaken as taken:
        sys.stderr.write(f"{taken}\n")
        return os.EX_TEMPFAIL
    return 0


if __name__ == "__main__":
    sys.exit(main())
