"""An agent that the npm package of AdCP carries as an example, run by the Node of the official runners."""

from __future__ import annotations

import asyncio
import os
import socket
from asyncio.subprocess import DEVNULL, PIPE, Process
from pathlib import Path

from compliance.engines.process.node_runtime import RuntimeMissing, node, package

_LOADED_BEFORE = Path(__file__).with_name("example.mjs")


async def start_example(name: str, sock: socket.socket) -> Process:
    """The example as a process that serves the listening socket, which is taken from the caller.

    Until the example is there, connections wait. It ends when its standard input is closed, and so with this process,
    however that ends. Raises RuntimeMissing.
    """
    runtime, sdk = node(), package("@adcp/sdk").path
    try:
        # Node runs no TypeScript below node_modules, so it gets the text, and the folder where it finds packages.
        source = (sdk / "examples" / f"{name}.ts").read_text("utf-8")
    except OSError as error:
        raise RuntimeMissing(f"The npm package @adcp/sdk has no example {name}.") from error
    with sock:
        return await asyncio.create_subprocess_exec(
            os.fspath(runtime),
            "--disable-warning=ExperimentalWarning",
            f"--import={_LOADED_BEFORE.as_uri()}",
            "--input-type=module-typescript",
            f"--eval={source}",
            cwd=sdk,
            # Of our own environment it gets nothing: there are keys in it.
            env={"NODE_ENV": "development", "LISTEN_FD": str(sock.fileno())},
            pass_fds=(sock.fileno(),),
            stdin=PIPE,
            stdout=DEVNULL,
        )
