"""What the heads of requests and answers become on their way through the proxy."""

from __future__ import annotations

import re
from dataclasses import dataclass

import h11

HEAD_BYTES = 64 * 1024

_HOST = rb"\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~-]+"
_AUTHORITY = re.compile(rb"(?P<host>%b):(?P<port>\d{1,5})" % _HOST)
_ABSOLUTE = re.compile(rb"[Hh][Tt][Tt][Pp]://(?P<host>%b)(?::(?P<port>\d{1,5}))?(?P<rest>[/?].*)?" % _HOST)
# They are between two neighbours, or of the proxy alone.
_HOP = {
    b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection",
    b"te", b"trailer", b"transfer-encoding", b"upgrade",
}  # fmt: skip

Headers = list[tuple[bytes, bytes]]


class Malformed(Exception):
    """What the client sent may be read in two ways, or in none."""


class Refusal(Exception):
    """An answer of the proxy itself: status, reason for people, error for programs (RFC 9209)."""

    def __init__(self, status: int, reason: str, error: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.error = error


@dataclass(frozen=True, slots=True)
class Route:
    """Where a request wants to go."""

    host: str
    port: int
    tunnel: bool = False
    target: bytes = b"/"
    authority: bytes = b""


def route_of(request: h11.Request) -> Route:
    """Raises Malformed for what is no clear request to a proxy."""
    names = [name for name, _ in request.headers]
    chunked = b"transfer-encoding" in names
    # Two readers that disagree on where a request ends let a second one be smuggled in.
    if chunked and (b"content-length" in names or request.http_version == b"1.0"):
        raise Malformed("the request says in two ways how long it is")
    if request.method == b"CONNECT":
        found = _AUTHORITY.fullmatch(request.target)
        if found is None:
            raise Malformed("CONNECT wants a host and a port")
        if chunked or b"content-length" in names:
            raise Malformed("CONNECT has no body")
        return Route(found["host"].decode(), _port(found["port"]), tunnel=True)
    found = _ABSOLUTE.fullmatch(request.target)
    if found is None:
        raise Malformed("this is a proxy: it wants a whole http address, and CONNECT for https")
    rest = found["rest"] or b"/"
    authority = found["host"] + (b":" + found["port"] if found["port"] else b"")
    return Route(
        found["host"].decode(),
        _port(found["port"] or b"80"),
        target=rest if rest.startswith(b"/") else b"/" + rest,
        authority=authority,
    )


def _port(text: bytes) -> int:
    port = int(text)
    if not 0 < port < 65536:
        raise Malformed("there is no such port")
    return port


def _passed_on(message: h11.Request | h11.Response, without: set[bytes]) -> Headers:
    pairs = message.headers.raw_items()
    named = {
        token.strip().lower()
        for name, value in pairs
        if name.lower() in (b"connection", b"proxy-connection")
        for token in value.split(b",")
    }
    return [(name, value) for name, value in pairs if name.lower() not in without | named - {b"content-length"}]


def to_agent(request: h11.Request, route: Route) -> h11.Request:
    """The request as the agent gets it: its Host is where it goes, whatever the client's said."""
    headers = _passed_on(request, _HOP | {b"host", b"expect"})
    if any(name == b"transfer-encoding" for name, _ in request.headers):
        headers.append((b"Transfer-Encoding", b"chunked"))
    headers = [(b"Host", route.authority), *headers, (b"Connection", b"close")]
    return h11.Request(method=request.method, target=route.target, headers=headers)


def to_client(response: h11.Response) -> h11.Response:
    """The answer as the client gets it. One that is chunked has no length besides."""
    chunked = any(name == b"transfer-encoding" for name, _ in response.headers)
    headers = _passed_on(response, _HOP | ({b"content-length"} if chunked else set()))
    return h11.Response(status_code=response.status_code, headers=headers, reason=response.reason)


def refusal_events(refusal: Refusal) -> tuple[h11.Event, ...]:
    body = f"{refusal.reason}\n".encode()
    headers = [
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Length", str(len(body))),
        ("Proxy-Status", f"assay; error={refusal.error}"),
        ("Connection", "close"),
    ]
    if refusal.status == 407:
        headers.append(("Proxy-Authenticate", 'Basic realm="run"'))
    return h11.Response(status_code=refusal.status, headers=headers), h11.Data(data=body), h11.EndOfMessage()
