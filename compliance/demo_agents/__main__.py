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
from collections.abc import Callable
from contextlib import ExitStack

import uvicorn
from starlette.applications import Starlette

from compliance.demo_agents import AGENTS, DemoAgent
from compliance.demo_agents.a2a_agents import translator
from compliance.demo_agents.example import start_example
from compliance.demo_agents.mcp_agents import library, payroll, shipping, weather
from compliance.engines.process.node_runtime import RuntimeMissing

HOST = "127.0.0.1"
APPS: dict[str, Callable[[str], Starlette]] = {
    "library": library,
    "weather": weather,
    "payroll": payroll,
    "translator": translator,
    "shipping": shipping,
}


class QuietServer(uvicorn.Server):
    """Several of these share one process, so none of them may take the signals for itself."""

    def capture_signals(self) -> ExitStack:  # type: ignore[override]
        return ExitStack()


def _ports(args: argparse.Namespace) -> dict[DemoAgent, int]:
    if args.only:
        agent = next(agent for agent in AGENTS if agent.name == args.only)
        return {agent: args.port}
    return {agent: args.port_base + index if args.port_base else 0 for index, agent in enumerate(AGENTS)}


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


async def serve(ports: dict[DemoAgent, int], announce: Callable[[dict[str, str]], None]) -> None:
    """Until told to stop. Raises PortTaken, before any of them is served."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    logging.getLogger("a2a").setLevel(logging.ERROR)  # it warns of every unknown method, and tests ask for one
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    addresses: dict[str, str] = {}
    examples: list[asyncio.subprocess.Process] = []
    with ExitStack() as sockets:
        servers = []
        opened = {agent: sockets.enter_context(_open(port, listens=agent.listens)) for agent, port in ports.items()}
        for agent, sock in opened.items():
            url = addresses[agent.name] = agent.url(sock.getsockname()[1])
            if not agent.listens:
                continue  # bound but not listening: connections are refused, and nobody else takes the port
            if agent.example:
                try:
                    examples.append(await start_example(agent.example, sock))
                except RuntimeMissing as missing:
                    sys.stderr.write(f"{agent.title} is not served. {missing}\n")
                    sock.close()
                    del addresses[agent.name]
                continue
            config = uvicorn.Config(
                APPS[agent.name](url), log_level="warning", lifespan="on", timeout_graceful_shutdown=2
            )
            servers.append((QuietServer(config), sock))
        running = [asyncio.create_task(server.serve(sockets=[sock])) for server, sock in servers]
        while not all(server.started for server, _ in servers):
            if any(task.done() for task in running):
                break
            await asyncio.sleep(0.01)
        else:
            announce(addresses)
            waiting = asyncio.create_task(stopping.wait())
            await asyncio.wait([waiting, *running], return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
        for server, _ in servers:
            server.should_exit = True
        for example in examples:
            if example.returncode is None:
                example.kill()
        await asyncio.gather(*running, *(example.wait() for example in examples))


def main() -> int:
    """The exit code: os.EX_TEMPFAIL when a port is taken, so that other ports may do."""
    parser = argparse.ArgumentParser(prog="python -m compliance.demo_agents", description=__doc__)
    parser.add_argument("--port-base", type=int, default=0, help="first port; without it the system chooses")
    parser.add_argument("--only", choices=[agent.name for agent in AGENTS], help="serve one agent")
    parser.add_argument("--port", type=int, default=0, help="the port of that one agent")

    def announce(addresses: dict[str, str]) -> None:
        sys.stdout.write(json.dumps(addresses) + "\n")
        sys.stdout.flush()

    try:
        asyncio.run(serve(_ports(parser.parse_args()), announce))
    except PortTaken as taken:
        sys.stderr.write(f"{taken}\n")
        return os.EX_TEMPFAIL
    return 0


if __name__ == "__main__":
    sys.exit(main())
