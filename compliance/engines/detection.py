"""Which protocol an agent speaks, found by asking it."""

from __future__ import annotations

import json

import httpx2
from mcp_types.version import LATEST_HANDSHAKE_VERSION

from compliance.engines.agent_cards import card_version, find_card
from compliance.engines.contract import Detection, Target
from compliance.engines.http.client import HttpClient
from compliance.engines.http.egress import Guard, Resolve, system_resolve
from compliance.engines.http.exchange import Headers
from compliance.engines.http.jsonrpc import error_of, message_of

_UNSUPPORTED_VERSION = -32022
_ACCEPT: Headers = [(b"Content-Type", b"application/json"), (b"Accept", b"application/json, text/event-stream")]
_INITIALIZE = json.dumps(
    {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": LATEST_HANDSHAKE_VERSION,
            "capabilities": {},
            "clientInfo": {"name": "assay", "version": "1.0"},
        },
    }
).encode()


async def detect_protocol(target: Target, *, resolve: Resolve = system_resolve) -> Detection:
    """Ask an agent what it is. Takes at most the target's deadline, and never raises for what the agent does."""
    guard = Guard(target.allow, resolve, run_key=target.run_key)
    async with HttpClient.for_target(target, guard) as http:
        return await detect_on(http, target)


async def detect_on(http: HttpClient, target: Target) -> Detection:
    first = await http.send("POST", target.url, _ACCEPT, _INITIALIZE)
    if first.fault is not None and not first.status:
        return Detection("", f"The agent could not be reached: {first.fault.message}")
    message, wrong = message_of(first)
    result = message.get("result") if message else None
    if session_id := first.header("mcp-session-id"):
        await http.send("DELETE", target.url, [*_ACCEPT, (b"Mcp-Session-Id", session_id.encode("latin-1"))])
    if isinstance(result, dict) and "protocolVersion" in result:
        version = str(result["protocolVersion"])[:40]
        return Detection("mcp", f"It answered an MCP initialize, in version {version}", version)
    search = await find_card(http, target.url)
    if search.document is not None:
        return Detection("a2a", f"It has an A2A agent card at {search.path}", card_version(search.document)[:40])
    code, _ = error_of(message)
    if code == _UNSUPPORTED_VERSION:
        return Detection("mcp", "It refused the version of an MCP initialize in the way of the protocol")
    if first.status in (401, 403):
        hint = "resource_metadata=" in first.header("www-authenticate") or "mcp" in httpx2.URL(target.url).path.lower()
        reason = f"It asks for credentials (status {first.status}) and has no A2A agent card"
        return Detection("mcp" if hint else "", reason + (", as an MCP server would" if hint else ""))
    if code is not None:
        wrong = f"error {code}"
    said = wrong or "something else than an MCP result"
    return Detection("", f"An MCP initialize was answered with {said}, and there is no A2A agent card")
