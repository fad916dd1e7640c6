"""Which protocol an agent speaks, found by asking it."""

from __future__ import annotations

import json
from typing import Any

from mcp_types import CLIENT_CAPABILITIES_META_KEY, CLIENT_INFO_META_KEY, PROTOCOL_VERSION_META_KEY
from mcp_types.version import (
    LATEST_HANDSHAKE_VERSION,
    LATEST_MODERN_VERSION,
    MODERN_PROTOCOL_VERSIONS,
    OLDEST_SUPPORTED_VERSION,
)

from compliance.engines.agent_cards import card_version, find_card
from compliance.engines.contract import Detection, Target
from compliance.engines.http.challenges import named_metadata
from compliance.engines.http.client import HttpClient
from compliance.engines.http.egress import Guard, Resolve, system_resolve
from compliance.engines.http.exchange import Exchange, Headers
from compliance.engines.http.jsonrpc import error_of, message_of
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
    search = await find_card(http, target.url)
    if search.document is not None:
        return Detection("a2a", f"It has an A2A agent card at {search.path}", card_version(search.document)[:40])
    shown = search.exchange
    if code == _UNSUPPORTED_VERSION:
        return Detection("", "It refused the version of an MCP initialize in the way of the protocol", likely="mcp")
    if first.is_locked or (shown is not None and shown.is_locked):
        status = first.status if first.is_locked or shown is None else shown.status
        reason = f"It asks for credentials (status {status}) and has no A2A agent card that can be read without"
        return Detection("", reason, likely="mcp" if named_metadata(first) else "")
    if code is not None:
        wrong = f"error {code}"
    said = wrong or "something else than an MCP result"
    card = "there is no A2A agent card"
    if search.agent_of_other:
        card = f"the A2A agent card at {search.path} is of another agent, {search.agent_of_other[:200]}"
    return Detection("", f"An MCP initialize was answered with {said}, and {card}")


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
