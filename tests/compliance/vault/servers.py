"""A token endpoint and an agent on the loopback that remember what they were sent."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs


@dataclass
class Asked:
    """What a server was sent, and what it is to say."""

    url: str = ""
    headers: list[dict[str, str]] = field(default_factory=list)
    forms: list[dict[str, str]] = field(default_factory=list)
    answer: Any = None  # a status with a JSON value
    location: str = ""
    arrived: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)


@contextmanager
def _serving(path: str, respond: Any) -> Iterator[Asked]:
    asked = Asked()
    asked.go_on.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            asked.headers.append({name.lower(): value for name, value in self.headers.items()})
            asked.arrived.set()
            asked.go_on.wait(20)
            status, value = respond(asked, raw)
            body = json.dumps(value).encode()
            self.send_response(status)
            if asked.location:
                self.send_header("Location", asked.location)
            if status == 401:
                self.send_header("WWW-Authenticate", "Bearer")
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_DELETE = do_POST

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    asked.url = f"http://127.0.0.1:{server.server_port}{path}"
    try:
        yield asked
    finally:
        asked.go_on.set()
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def token_endpoint(token: str, expires_in: Any = 3600) -> Iterator[Asked]:
    """An OAuth token endpoint that issues this token."""

    def respond(asked: Asked, raw: bytes) -> tuple[int, Any]:
        asked.forms.append({name: values[0] for name, values in parse_qs(raw.decode()).items()})
        return asked.answer or (200, {"access_token": token, "token_type": "Bearer", "expires_in": expires_in})

    with _serving("/token", respond) as asked:
        yield asked


@contextmanager
def echoing_agent() -> Iterator[Asked]:
    """An MCP server that wants a credential, and repeats in its name and errors every header that it was sent."""

    def respond(asked: Asked, raw: bytes) -> tuple[int, Any]:
        sent = asked.headers[-1]
        if "authorization" not in sent and "x-api-key" not in sent:
            return 401, {"error": "who are you?"}
        message = json.loads(raw) if raw else {}
        if message.get("method") == "initialize":
            said = {"name": f"I was sent {sent}", "version": "1"}
            result = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": said}
            return 200, {"jsonrpc": "2.0", "id": message["id"], "result": result}
        error = {"code": -1, "message": f"I was sent {sent}", "data": {"you sent": sent}}
        return 200, {"jsonrpc": "2.0", "id": message.get("id"), "error": error}

    with _serving("/mcp", respond) as asked:
        yield asked
