"""What a server says of itself, asked over our own HTTP client before the official runner starts.

It tells an agent that cannot be reached, or that wants a credential, from one that breaks a rule: to the
runner all of these are failures.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import mcp_types as types
from mcp import ClientSession, MCPError
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, LATEST_HANDSHAKE_VERSION
from pydantic import TypeAdapter, ValidationError

from compliance.engines.http.jsonrpc import error_of, message_of, method_of
from compliance.engines.http.legacy_sse import find_endpoint
from compliance.engines.reports.builder import ReportBuilder
from compliance.engines.suites.assertions import check_connection, check_credential
from compliance.engines.suites.mcp_session import check_speaks, in_mcp_session, leave_legacy, patience

_CLIENT = types.Implementation(name="assay", title="Assay compliance check", version="1.0")
_RAW: TypeAdapter[Any] = TypeAdapter(dict[str, Any])
_UNSUPPORTED_VERSION = -32022
# A server may list less, or more, to clients that can do less: this is what the official runner says of itself.
_CAPABILITIES = types.ClientCapabilities(sampling=types.SamplingCapability(), elicitation=types.ElicitationCapability())
_LISTED = 100  # names of tools that a report keeps


@dataclass(slots=True)
class Found:
    """A server as it introduced itself. What could not be listed is None: not the same as an empty list."""

    ready: bool = False  # it answered an initialize with JSON-RPC: the official runner can check the rest
    opened: bool = False  # a session was opened: what it declares is known
    unsupported: str = ""  # why the official runner has nothing to say about this server
    capabilities: dict[str, Any] = field(default_factory=dict)
    tools: list[str] | None = None
    prompts: list[str] | None = None
    resources: list[str] | None = None
    templates: list[str] | None = None

    def declares(self, capability: str) -> bool:
        """Whether a capability, or with "a.b" a part of one, is declared."""
        value: Any = self.capabilities
        for part in filter(None, capability.split(".")):
            value = value.get(part) if isinstance(value, dict) else None
        return value is not None and value is not False

    def lacks(self, fixture: tuple[str, str]) -> bool:
        """Whether the server's own lists are known and hold nothing of that name."""
        kind, name = fixture
        if kind == "resource":
            if self.resources is None or self.templates is None:
                return False
            return name not in self.resources and not any(_matches(template, name) for template in self.templates)
        listed = {"tool": self.tools, "prompt": self.prompts}.get(kind)
        return listed is not None and name not in listed


def _matches(template: str, uri: str) -> bool:
    """Whether a URI can come of a URI template: each expression stands for anything."""
    parts = re.split(r"\{[^{}]*\}", template[:2000])
    place = 0
    for index, part in enumerate(parts):
        found = uri.find(part, place)
        if found < 0 or (index == 0 and found != 0):
            return False
        place = found + len(part)
    return len(parts) > 1 and (not parts[-1] or uri.endswith(parts[-1]))


async def discover(run: ReportBuilder) -> Found:
    """Open a session, check what stands before the runner, and list what the server declares.

    Raises PolicyRefused, OutOfTime and Unable as the HTTP client's steps do; what the agent does wrong is in the run.
    """
    found = Found()
    await in_mcp_session(run, _CLIENT, lambda session: _Opening(run, session, found).hold())
    return found


class _Opening:
    def __init__(self, run: ReportBuilder, session: ClientSession, found: Found) -> None:
        self.run = run
        self.session = session
        self.found = found

    async def hold(self) -> None:
        run, found = self.run, self.found
        found.opened = await self._initialize() and found.ready
        if not found.opened:
            return
        found.tools = await self._names("tools", types.ListToolsRequest, "name")
        found.prompts = await self._names("prompts", types.ListPromptsRequest, "name")
        found.resources = await self._names("resources", types.ListResourcesRequest, "uri")
        found.templates = await self._names(
            "resources", types.ListResourceTemplatesRequest, "uriTemplate", "resourceTemplates"
        )
        run.observe("capabilities", sorted(map(str, found.capabilities))[:50])
        if found.tools is not None:
            run.observe("tools", len(found.tools))
            run.observe("tool_names", [run.said(name, 100) for name in found.tools[:_LISTED]])
        for kind, names in (("prompts", found.prompts), ("resources", found.resources)):
            if names is not None:
                run.observe(kind, len(names))

    async def _initialize(self) -> bool:
        """Check the connection and the credential. True when a session is open."""
        run, opened = self.run, False
        try:
            async with patience(run):
                await self._open()
            opened = True
        except (MCPError, ValidationError, RuntimeError, TimeoutError):
            pass  # the exchange says what it was, and the runner what follows
        exchange = next(e for e in reversed(run.http.exchanges) if method_of(e) == "initialize")
        stream = None
        if 400 <= exchange.status < 500 and not exchange.is_locked and message_of(exchange)[0] is None:
            stream = await find_endpoint(run.http, run.target.url)
        with run.step("connectivity/reach", "reachable") as step:
            step.exchange = stream or exchange
            reached = check_connection(run, step.exchange, step)
        if not reached or not check_credential(run, "mcp/auth", exchange):
            return False
        if stream is not None:
            leave_legacy(run, stream)
            return False
        message = check_speaks(run, exchange)
        if message is None:
            return False
        self.found.ready = True
        code, _ = error_of(message)
        if code == _UNSUPPORTED_VERSION or (code is not None and await self._speaks_newer()):
            self.found.unsupported = "The server speaks only protocol versions that the official runner does not"
        self._introduce(message.get("result"))
        return opened

    async def _speaks_newer(self) -> bool:
        """Whether the server speaks a version without initialize, which such servers refuse in many ways (E8)."""
        try:
            async with patience(self.run):
                await self.session.discover()
        except (MCPError, ValidationError, RuntimeError, TimeoutError):
            return False
        return True

    async def _open(self) -> None:
        asked = types.InitializeRequestParams(
            protocol_version=LATEST_HANDSHAKE_VERSION, capabilities=_CAPABILITIES, client_info=_CLIENT
        )
        answered = await self.session.send_request(types.InitializeRequest(params=asked), types.InitializeResult)
        if answered.protocol_version not in HANDSHAKE_PROTOCOL_VERSIONS:
            raise RuntimeError("a protocol version that has no handshake, or that nobody published")
        self.session.adopt(answered)
        await self.session.send_notification(types.InitializedNotification())

    def _introduce(self, result: Any) -> None:
        if not isinstance(result, dict):
            return
        if isinstance(result.get("capabilities"), dict):
            self.found.capabilities = result["capabilities"]
        self.run.protocol_version = str(result.get("protocolVersion") or "")
        info = result.get("serverInfo")
        if isinstance(info, dict):
            self.run.observe("server_name", self.run.said(info.get("name", ""), 100))
            self.run.observe("server_version", self.run.said(info.get("version", ""), 50))

    async def _names(
        self, capability: str, request: Callable[..., types.Request[Any, Any]], field_name: str, key: str = ""
    ) -> list[str] | None:
        """The names on all pages of a listing; None when it is not declared or not complete."""
        names: list[str] = []
        cursor: str | None = None
        if not self.found.declares(capability):
            return []
        for _ in range(self.run.target.limits.pages):
            if self.run.http.time_is_up():
                return None
            params = types.PaginatedRequestParams(cursor=cursor) if cursor else None
            try:
                async with patience(self.run):
                    page = await self.session.send_request(request(params=params), _RAW)
            except (MCPError, ValidationError, TimeoutError):
                return None
            items = page.get(key or capability)
            if not isinstance(items, list):
                return None
            names += [str(item.get(field_name))[:500] for item in items if isinstance(item, dict)]
            cursor = page.get("nextCursor")
            if not isinstance(cursor, str) or not cursor:
                return names
        return None
