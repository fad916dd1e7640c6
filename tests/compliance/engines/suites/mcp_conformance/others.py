"""MCP servers that others wrote: what starts each, where it answers, and what its official runs come to."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compliance.engines.process.node_runtime import node
from tests.processes import ROOT, Process, free_port

DEV_MODULES = Path(sys.prefix) / "assay-node-dev" / "node_modules"
SDK = DEV_MODULES / "@modelcontextprotocol" / "sdk" / "dist" / "esm" / "examples" / "server"
LAUNCHER = DEV_MODULES / "@modelcontextprotocol" / "server-everything" / "dist" / "index.js"
_TIME = "import sys; from mcp_server_time.server import create_server as c; "
_TIME += "c('UTC').run(transport='streamable-http', host='127.0.0.1', port=int(sys.argv[1]))"
PYTHON = ROOT / "tests" / "agents" / "mcp_server.py"


# What rules of ours take away from servers without the fixtures that the official scenarios ask for.
NO_TOOL = ("tools-call-error/tools-call-error", "tools-call-simple-text/tools-call-simple-text")
NO_RESOURCE = ("resources-subscribe/resources-subscribe", "resources-unsubscribe/resources-unsubscribe")
STREAMS = ("server-sse-multiple-streams/server-accepts-multiple-post-streams",)
EMPTY = ("prompts-list/prompts-list", "resources-list/resources-list")


@dataclass(frozen=True)
class Server:
    """A server. Node programs listen on ports that stand in their text, which tests/node/ports.mjs replaces."""

    name: str
    command: Sequence[str]  # for Python, its port comes last
    ports: tuple[int, ...] = ()  # of a Node program; the first is the server's own
    path: str = "/mcp"
    names: tuple[str, ...] = ()  # environment variables that give the ports instead
    withdrawn: tuple[str, ...] = ()  # passes of the official runner that do not count

    @contextmanager
    def started(self, log: Path) -> Iterator[str]:
        ports = [free_port() for _ in self.ports or (0,)]
        command = [*self.command]
        environment = dict(zip(self.names, map(str, ports), strict=False))
        if self.ports:
            old = ports if self.names else self.ports
            environment["PORTS"] = " ".join(f"{a}:{b}" for a, b in zip(old, ports, strict=True))
            command = [str(node()), "--import", (ROOT / "tests" / "node" / "ports.mjs").as_uri(), *command]
        else:
            command.append(str(ports[0]))
        process = Process(*command, log=log, env=environment)
        try:
            # Importing a package may take many seconds of processor time: until then nothing listens.
            process.says(f"[listening on {ports[0]}]" if self.ports else "Uvicorn running", seconds=100)
            yield f"http://127.0.0.1:{ports[0]}{self.path}"
        finally:
            process.stop()


def example(name: str, *arguments: str, ports: tuple[int, ...] = (3000,), **more: Any) -> Server:
    """One of the examples that the TypeScript SDK's package has."""
    return Server("".join((name, *arguments)), (str(SDK / f"{name}.js"), *arguments), ports, **more)


def python(environment: str, package: str) -> Server:
    """tests/agents/mcp_server.py, on a package of one of the environments that scripts/install makes."""
    program = str(Path(sys.prefix) / environment / "bin" / "python")
    return Server(f"{package}-of-{environment}", (program, str(PYTHON), package))


EVERYTHING = Server("server-everything", (str(LAUNCHER), "streamableHttp"), (3001,), withdrawn=NO_TOOL + NO_RESOURCE)
TIME = Server("mcp-server-time", (sys.executable, "-c", _TIME), withdrawn=EMPTY)
# Servers that answer whoever asks.
OPEN = (
    EVERYTHING,
    TIME,
    example("elicitationFormExample", withdrawn=NO_TOOL),
    example("honoWebStandardStreamableHttp", withdrawn=NO_TOOL),
    example("jsonResponseStreamableHttp", withdrawn=NO_TOOL),
    example("simpleStatelessStreamableHttp", withdrawn=NO_TOOL),
    example("simpleStreamableHttp", withdrawn=NO_TOOL),
    example("simpleTaskInteractive", ports=(8000,)),
    example("sseAndStreamableHttpCompatibleServer", withdrawn=NO_TOOL),
    example("ssePollingExample", ports=(3001,), withdrawn=NO_TOOL),
    example("standaloneSseWithGetStreamableHttp", withdrawn=STREAMS),
    python("agents", "mcp"),
    python("agents-older", "mcp"),
    python("agents-older", "fastmcp"),
    python("agents-newer", "fastmcp"),
)
# Servers behind an OAuth server.
_OAUTH: dict[str, Any] = {"ports": (3000, 3001), "names": ("MCP_PORT", "MCP_AUTH_PORT")}
LOCKED = (example("elicitationUrlExample", **_OAUTH), example("simpleStreamableHttp", "--oauth", **_OAUTH))
# Servers that have the deprecated transport alone.
DEPRECATED = (
    example("simpleSseServer"),
    Server("server-everything-sse", (str(LAUNCHER), "sse"), (3001,), "/sse"),
)
