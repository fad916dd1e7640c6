"""The baseline's questions to an MCP server, asked through the official SDK over one session."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import mcp_types as types
from mcp import ClientSession, MCPError
from mcp_types.version import (
    KNOWN_PROTOCOL_VERSIONS,
    LATEST_HANDSHAKE_VERSION,
    MODERN_PROTOCOL_VERSIONS,
)
from pydantic import TypeAdapter, ValidationError

from compliance.engines.http.exchange import Exchange
from compliance.engines.http.jsonrpc import error_of, message_of, method_of, pointer, read_message, wrong_at
from compliance.engines.http.legacy_sse import find_endpoint
from compliance.engines.http.protected_resource import check_metadata
from compliance.engines.reports.builder import ReportBuilder
from compliance.engines.reports.digest import digest_of_listings
from compliance.engines.suites.assertions import check_challenge, check_connection, check_credential, locked_out
from compliance.engines.suites.baseline.mcp_tools import Answer, Position, ToolChecks, call_tool, has_stack
from compliance.engines.suites.mcp_session import check_speaks, in_mcp_session, leave_legacy, patience

CLIENT_INFO = types.Implementation(name="assay", title="Assay compliance check", version="1.0")
_RAW: TypeAdapter[Any] = TypeAdapter(dict[str, Any])  # as it came: the SDK's models drop what they do not know
_NO_METHOD = "assay/no-such-method"
_NO_TOOL = "assay-no-such-tool"
_RESULT = "/response/body/result"
_KINDS: dict[str, Callable[..., types.Request[Any, Any]]] = {
    "tools": types.ListToolsRequest,
    "resources": types.ListResourcesRequest,
    "prompts": types.ListPromptsRequest,
}
_METHOD_NOT_FOUND = -32601
_INVALID_PARAMS = -32602  # what the official Python SDK says of an unknown method before its version 2
_JSON_ACCEPT = [(b"Content-Type", b"application/json"), (b"Accept", b"application/json, text/event-stream")]


async def converse(run: ReportBuilder) -> None:
    """The whole conversation. What breaks in here is raised to the engine; an agent's faults are steps."""
    await in_mcp_session(run, CLIENT_INFO, lambda session: _Conversation(run, session).perform())


class _Conversation:
    def __init__(self, run: ReportBuilder, session: ClientSession) -> None:
        self.run = run
        self.session = session
        self.capabilities: dict[str, Any] = {}
        self.tools: list[dict[str, Any]] = []
        self.positions: list[Position] = []  # of the tools
        self.listed: dict[str, list[dict[str, Any]]] = {}  # what was listed whole

    async def perform(self) -> None:
        run = self.run
        if not await self._open():
            return
        await self._ping()
        for kind, request in _KINDS.items():
            await self._listing(kind, request)
        # Of a part it would be another one, and say that the agent changed when a listing only failed.
        digest = digest_of_listings(self.listed) if len(self.listed) == len(_KINDS) else ""
        if digest:
            run.observe("tools_digest", digest)
        tools = ToolChecks(run, self.tools, self.positions, declared="tools" in self.capabilities, ask=self._ask)
        if run.wants("mcp/schemas") or run.wants("mcp/calls"):
            await tools.check_schemas()
        if run.wants("mcp/calls"):
            await tools.check_calls()
        if run.wants("mcp/errors"):
            await self._errors()
        if run.wants("mcp/auth"):
            await self._auth()

    async def _ask(self, request: types.Request[Any, Any]) -> Answer:
        shape: ValidationError | None = None
        try:
            async with patience(self.run):
                await self.session.send_request(request, _RAW)
        except (MCPError, TimeoutError):
            pass  # the HTTP client knows better what it was
        except ValidationError as error:
            shape = error
        exchange = self._exchange(request.method)
        message, problem, at = read_message(exchange)
        if message is None:
            return Answer(exchange, None, problem, at)
        code, text = error_of(message)
        if code is not None:
            return Answer(exchange, None, problem or f"error {code}: {text}", at or "/response/body/error")
        result = message.get("result")
        if not isinstance(result, dict):
            return Answer(exchange, None, problem or "a result that is not an object", at or _RESULT)
        if shape is not None and not problem:
            problem, at = _shape_words(shape), _shape_at(shape)
        return Answer(exchange, result, problem, at)

    def _exchange(self, method: str) -> Exchange:
        return next(e for e in reversed(self.run.http.exchanges) if method_of(e) == method)

    # Opening

    async def _open(self) -> bool:
        run = self.run
        problem, at = await self._initialize()
        exchange = opened_by = self._exchange("initialize")
        modern = legacy = False
        if self.session.protocol_version is None and exchange.fault is None and not exchange.is_locked:
            # Servers of the versions without initialize refuse it in many ways (E8).
            modern = await self._discover()
            if modern:
                opened_by = self._exchange("server/discover")
            elif 400 <= exchange.status < 500 and (stream := await find_endpoint(run.http, run.target.url)):
                legacy, opened_by = True, stream
        with run.step("connectivity/reach", "reachable") as step:
            step.exchange = opened_by
            reached = check_connection(run, opened_by, step)
        if not reached or not check_credential(run, "mcp/auth", opened_by):
            if opened_by.status == 401:
                await check_metadata(run, opened_by)
            return False
        if legacy:
            leave_legacy(run, opened_by)
            return False
        message = check_speaks(run, opened_by)
        if message is None:
            return False
        code, text = error_of(message)
        with run.step("mcp/lifecycle", "initialize") as step:
            step.exchange = exchange
            if modern:
                step.not_applicable("The server speaks a version without initialize; server/discover was answered")
            elif code is not None:
                step.failed(f"Error {code}: {text}", at="/response/body/error")
            elif problem and not problem.startswith("Unsupported protocol version"):
                step.failed(problem, at=at)
            elif self.session.protocol_version is None and not problem:
                step.failed(f"Answered with status {exchange.status}, and no session could be opened")
            elif _version_in(message) in MODERN_PROTOCOL_VERSIONS:
                step.failed(
                    f"Answered with {_version_in(message)}, a version that has no initialize",
                    at=f"{_RESULT}/protocolVersion",
                )
            else:
                step.passed(self._introduce(message["result"]))
        return self._agree_version(message, opened_by, modern)

    async def _initialize(self) -> tuple[str, str]:
        """Open the session. What is wrong with the result, in words, and where."""
        try:
            async with patience(self.run):
                await self.session.initialize()
        except (MCPError, TimeoutError):
            exchange = self._exchange("initialize")
            return read_message(exchange).problem, wrong_at(exchange)
        except ValidationError as error:
            return _shape_words(error), _shape_at(error)
        except RuntimeError as error:
            return str(error), ""
        return "", ""

    async def _discover(self) -> bool:
        try:
            async with patience(self.run):
                found = await self.session.discover()
        except (MCPError, ValidationError, RuntimeError, TimeoutError):
            return False
        self.capabilities = found.capabilities.model_dump(by_alias=True, exclude_none=True)
        return True

    def _introduce(self, result: Any) -> str:
        if not isinstance(result, dict):
            return "Answered"
        info = result.get("serverInfo")
        if isinstance(result.get("capabilities"), dict):
            self.capabilities = result["capabilities"]
        if not isinstance(info, dict):
            return "Answered without server information"
        name, version = self.run.said(info.get("name", ""), 100), self.run.said(info.get("version", ""), 50)
        self.run.observe("server_name", name)
        self.run.observe("server_version", version)
        declared = ", ".join(sorted(map(str, self.capabilities))) or "no capabilities"
        return f"Introduced as {name} {version}, with {declared}"

    def _agree_version(self, message: dict[str, Any], exchange: Exchange, modern: bool) -> bool:
        run = self.run
        with run.step("mcp/lifecycle", "version") as step:
            step.exchange = exchange
            answered = MODERN_PROTOCOL_VERSIONS[-1] if modern else _version_in(message)
            run.protocol_version = answered if isinstance(answered, str) else ""
            if answered in KNOWN_PROTOCOL_VERSIONS and self.session.protocol_version is None:
                step.skipped("No session could be opened")
            elif answered in KNOWN_PROTOCOL_VERSIONS:
                step.passed(f"Agreed on {answered}")
            elif answered is None:
                step.skipped("No version was answered")
            else:
                said = run.said(answered, 60)
                step.failed(
                    f"Asked for {LATEST_HANDSHAKE_VERSION}, answered {said}", at="/response/body/result/protocolVersion"
                )
        if self.session.protocol_version is None:
            run.stop_reason = "Left out: no session could be opened"
            return False
        if run.protocol_version in KNOWN_PROTOCOL_VERSIONS[:2]:
            run.notice("old_version", f"The server speaks protocol version {run.protocol_version}, which is superseded")
        return True

    async def _ping(self) -> None:
        if not self.run.wants("mcp/lifecycle"):
            return
        with self.run.step("mcp/lifecycle", "ping") as step:
            if self.run.protocol_version in MODERN_PROTOCOL_VERSIONS:
                step.not_applicable("This protocol version has no ping")
                return
            exchange, result, problem, at = await self._ask(types.PingRequest())
            if locked_out(self.run, step, exchange):
                return
            if result is None or problem:
                step.failed(problem, at=at)
            else:
                step.passed("Answered")

    # Listings

    async def _listing(self, kind: str, request: Callable[..., types.Request[Any, Any]]) -> None:
        run, pages = self.run, 0
        items: list[dict[str, Any]] = []
        positions: list[Position] = []
        cursor: str | None = None
        needed = ("mcp/listings", "mcp/schemas", "mcp/calls") if kind == "tools" else ("mcp/listings",)
        if not any(map(run.wants, needed)):
            return
        with run.step("mcp/listings", kind) as step:
            if kind not in self.capabilities:
                step.not_applicable(f"The server does not declare {kind}")
                self.listed[kind] = []
                return
            seen: set[str] = set()
            while True:
                params = types.PaginatedRequestParams(cursor=cursor) if cursor else None
                exchange, result, problem, at = await self._ask(request(params=params))
                if locked_out(run, step, exchange):
                    return
                found = result.get(kind) if result else None
                page = exchange if kind == "tools" else None
                for index, item in enumerate(found if isinstance(found, list) else ()):
                    if isinstance(item, dict):
                        items.append(item)
                        positions.append(Position(page, f"/response/body/result/{kind}/{index}"))
                pages += 1
                cursor = result.get("nextCursor") if result else None
                if result and "nextCursor" in result and not isinstance(cursor, str) and not problem:
                    problem, at = (
                        f"nextCursor is {run.said(json.dumps(cursor), 60)}, and not a text",
                        f"{_RESULT}/nextCursor",
                    )
                if problem or not isinstance(cursor, str) or not cursor:
                    break
                if cursor in seen:
                    problem, at = "the same cursor twice: the pages never end", "/response/body/result/nextCursor"
                    break
                seen.add(cursor)
                if pages >= run.target.limits.pages or run.http.received > run.target.limits.run_bytes // 4:
                    break
            run.observe(kind, len(items))
            if kind == "tools":
                self.tools, self.positions = items, positions
            if problem:
                step.failed(f"Page {pages}: {problem}" if pages > 1 else problem, at=at)
            elif cursor:
                step.silent(f"Stopped after {pages} pages with {len(items)} {kind}")
            else:
                self.listed[kind] = items
                step.passed(
                    f"{len(items)} {kind if len(items) != 1 else kind[:-1]}"
                    + (f" on {pages} pages" if pages > 1 else "")
                )

    # Errors and credentials

    async def _errors(self) -> None:
        run = self.run
        with run.step("mcp/errors", "unknown_method") as step:
            exchange, result, problem, at = await self._ask(types.Request[Any, Any](method=_NO_METHOD, params=None))
            code, _ = error_of(message_of(exchange)[0])
            if locked_out(run, step, exchange):
                pass
            elif code == _METHOD_NOT_FOUND:
                step.passed("Error -32601")
            elif code == _INVALID_PARAMS:
                step.silent("Error -32602 (invalid parameters) in place of -32601, as from older official SDKs")
            elif result is not None:
                step.failed(problem or "A result, as if the method existed", at=at or _RESULT)
            else:
                step.failed(problem, at=at)
        with run.step("mcp/errors", "unknown_tool") as step:
            if "tools" not in self.capabilities:
                step.not_applicable("The server does not declare tools")
                return
            exchange, result, problem, at = await self._ask(call_tool(_NO_TOOL))
            error = (message_of(exchange)[0] or {}).get("error")
            if locked_out(run, step, exchange):
                pass
            elif isinstance(error, dict) and has_stack(error):
                step.failed(f"Error {error.get('code')} with a stack trace, as of a crash", at="/response/body/error")
            elif isinstance(error, dict):
                step.passed(f"Error {error.get('code')}")
            elif result is None or problem:
                step.failed(problem, at=at)
            elif result.get("isError") is True:
                step.passed("A result marked isError")
            else:
                step.failed("A result, as if the tool existed", at=_RESULT)

    async def _auth(self) -> None:
        run = self.run
        if run.target.credential is None:
            for key in ("unauthorized", "metadata", "accepted"):
                with run.step("mcp/auth", key) as step:
                    step.not_applicable("The agent answers without credentials")
            return
        body = self._exchange("initialize").request_body
        probe = await run.http.send(
            "POST", run.target.url, _JSON_ACCEPT, body, with_credential=False, until_answered=True
        )
        if check_challenge(run, "mcp/auth", probe):
            await check_metadata(run, probe)
            return
        if session_id := probe.header("mcp-session-id"):
            headers = [*_JSON_ACCEPT, (b"Mcp-Session-Id", session_id.encode("latin-1"))]
            await run.http.send("DELETE", run.target.url, headers, with_credential=False)
        with run.step("mcp/auth", "metadata") as step:
            step.not_applicable("The agent does not ask for credentials")


def _version_in(message: dict[str, Any]) -> Any:
    result = message.get("result")
    return result.get("protocolVersion") if isinstance(result, dict) else None


def _shape_words(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    return f"The result does not have the specified shape at {pointer(first['loc']) or '(root)'}: {first['msg']}"


def _shape_at(error: ValidationError) -> str:
    return _RESULT + pointer(error.errors(include_url=False, include_input=False)[0]["loc"])
