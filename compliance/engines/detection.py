"""Which protocol an agent speaks, found by asking it."""

from __future__ import annotations

import json
from typing import Any

import httpx2
from mcp_types import CLIENT_CAPABILITIES_META_KEY, CLIENT_INFO_META_KEY, PROTOCOL_VERSION_META_KEY
from mcp_types.version import (
    LATEST_HANDSHAKE_VERSION,
    LATEST_MODERN_VERSION,
    MODERN_PROTOCOL_VERSIONS,
    OLDEST_SUPPORTED_VERSION,
)

from compliance.engines.contract import Detection, Target
from compliance.engines.http.challenges import named_metadata
from compliance.engines.http.client import HttpClient
from compliance.engines.http.egress import Guard, Resolve, system_resolve
from compliance.engines.http.exchange import Exchange, Headers
from compliance.engines.http.jsonrpc import error_of, message_of, parse
from compliance.engines.http.legacy_sse import find_endpoint

_UNSUPPORTED_VERSION = -32022
_ACCEPT: Headers = [(b"Content-Type", b"application/json"), (b"Accept", b"application/json, text/event-stream")]
_CLIENT = {"name": "assay", "version": "1.0"}


def _request(method: str, params: dict[str, Any]) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()


_INITIALIZE = _request(
    "initialize", {"protocolVersion": LATEST_HANDSHAKE_VERSION, "capabilities": {}, "clientInfo": _CLIENT}
)
# The versions without initialize carry in each request what it used to agree on.
_DISCOVER = _request(
    "server/discover",
    {
        "_meta": {
            PROTOCOL_VERSION_META_KEY: LATEST_MODERN_VERSION,
            CLIENT_INFO_META_KEY: _CLIENT,
            CLIENT_CAPABILITIES_META_KEY: {},
        }
    },
)
_DISCOVER_HEADERS: Headers = [
    *_ACCEPT,
    (b"MCP-Protocol-Version", LATEST_MODERN_VERSION.encode()),
    (b"Mcp-Method", b"server/discover"),
]

CARD_PATH = "/.well-known/agent-card.json"
OLD_CARD_PATH = "/.well-known/agent.json"


async def detect_protocol(target: Target, *, resolve: Resolve = system_resolve) -> Detection:
    """Ask an agent what it is. Takes at most the target's deadline, and never raises for what the agent does."""
    guard = Guard(target.allow, resolve, run_key=target.run_key)
    async with HttpClient.for_target(target, guard) as http:
        return await detect_on(http, target)


async def detect_on(http: HttpClient, target: Target) -> Detection:
    first = await http.send("POST", target.url, _ACCEPT, _INITIALIZE, until_answered=True)
    # What stands in front of the agent would answer everything else too.
    if first.fault is not None and not (first.status and first.fault.is_the_agents):
        return Detection("", f"The agent could not be reached: {first.fault.message}")
    message, wrong = message_of(first)
    result = message.get("result") if message else None
    if session_id := first.header("mcp-session-id"):
        await http.send("DELETE", target.url, [*_ACCEPT, (b"Mcp-Session-Id", session_id.encode("latin-1"))])
    if isinstance(result, dict) and "protocolVersion" in result:
        version = str(result["protocolVersion"])[:40]
        return Detection("mcp", f"It answered an MCP initialize, in version {version}", version)
    code, _ = error_of(message)
    if not first.is_locked:
        found = await _detect_other_mcp(http, target, first)
        if found is not None:
            return found
    card, shown, path = await find_card(http, target.url)
    if card is not None:
        version = str(card.get("protocolVersion") or _interface_version(card))[:40]
        return Detection("a2a", f"It has an A2A agent card at {path}", version)
    if code == _UNSUPPORTED_VERSION:
        return Detection("", "It refused the version of an MCP initialize in the way of the protocol", likely="mcp")
    if first.is_locked or (shown is not None and shown.is_locked):
        status = first.status if first.is_locked or shown is None else shown.status
        reason = f"It asks for credentials (status {status}) and has no A2A agent card that can be read without"
        return Detection("", reason, likely="mcp" if named_metadata(first) else "")
    if code is not None:
        wrong = f"error {code}"
    said = wrong or "something else than an MCP result"
    return Detection("", f"An MCP initialize was answered with {said}, and there is no A2A agent card")


async def _detect_other_mcp(http: HttpClient, target: Target, first: Exchange) -> Detection | None:
    """MCP without initialize, as the newest version has it, or over the oldest transport."""
    second = await http.send("POST", target.url, _DISCOVER_HEADERS, _DISCOVER, until_answered=True)
    message, _ = message_of(second)
    result = message.get("result") if message else None
    if isinstance(result, dict) and isinstance(result.get("supportedVersions"), list):
        known = [version for version in MODERN_PROTOCOL_VERSIONS if version in result["supportedVersions"]]
        return Detection("mcp", "It answered an MCP server/discover", known[-1] if known else "")
    if 400 <= first.status < 500 and await find_endpoint(http, target.url) is not None:
        return Detection("mcp", "It speaks MCP over the deprecated HTTP+SSE transport", OLDEST_SUPPORTED_VERSION)
    return None


def card_addresses(url: str) -> list[str]:
    """Where an agent's card may be, likeliest first: below its own path, at the root, and under the older name."""
    base = httpx2.URL(url).copy_with(query=None, fragment=None, userinfo=b"")
    path = base.path.rstrip("/")
    if path.endswith((CARD_PATH, OLD_CARD_PATH)):
        return [str(base)]
    paths = [f"{path}{CARD_PATH}"]
    if path:
        paths.append(CARD_PATH)
    paths.append(f"{path}{OLD_CARD_PATH}")
    if path:
        paths.append(OLD_CARD_PATH)
    return [str(base.copy_with(path=place)) for place in paths]


async def find_card(http: HttpClient, url: str) -> tuple[dict[str, Any] | None, Exchange | None, str]:
    """The agent card as JSON, the exchange that says most about it, and the path asked."""
    best: Exchange | None = None
    for address in card_addresses(url):
        exchange = await http.send("GET", address, [(b"Accept", b"application/json")])
        if best is None or (best.status == 404 and exchange.status not in (0, 404)):
            best = exchange
        if exchange.fault is not None and not exchange.status:
            break
        value, _ = parse(bytes(exchange.body))
        if exchange.fault is None and exchange.status == 200 and _looks_like_card(value):
            return value, exchange, httpx2.URL(address).path
    return None, best, ""


def _looks_like_card(value: Any) -> bool:
    marks = {"skills", "supportedInterfaces", "url", "protocolVersion", "capabilities", "defaultInputModes"}
    return isinstance(value, dict) and len(marks & value.keys()) >= 2


def _interface_version(card: dict[str, Any]) -> str:
    interfaces = card.get("supportedInterfaces")
    first = interfaces[0] if isinstance(interfaces, list) and interfaces else None
    return str(first.get("protocolVersion", "")) if isinstance(first, dict) else ""
