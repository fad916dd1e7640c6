"""A session of the official MCP client over a run's own HTTP client."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import mcp_types as types
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client
from mcp_types.version import OLDEST_SUPPORTED_VERSION

from compliance.engines.http import legacy_sse
from compliance.engines.http.exchange import Exchange
from compliance.engines.http.jsonrpc import message_of, wrong_at
from compliance.engines.http.transports import McpTransport
from compliance.engines.reports.builder import ReportBuilder


async def in_mcp_session(
    run: ReportBuilder, client_info: types.Implementation, converse: Callable[[ClientSession], Awaitable[None]]
) -> None:
    """Await the conversation with a session that is not opened yet. Raises what it raises.

    The session has no limit of time of its own: each of its requests is awaited within `patience`.
    """
    failure: Exception | None = None
    largest = run.target.limits.response_bytes
    async with (
        httpx2.AsyncClient(transport=McpTransport(run.http), trust_env=False, timeout=None) as client,
        streamable_http_client(run.target.url, http_client=client, max_sse_event_size=largest) as (read, write),
        ClientSession(read, write, client_info=client_info) as session,
    ):
        try:
            await converse(session)
        except Exception as error:  # noqa: BLE001 -- leaves the SDK's task groups unwrapped, and is raised below
            failure = error
    if failure is not None:
        raise failure


def patience(run: ReportBuilder) -> contextlib.AbstractAsyncContextManager[None]:
    """The limit of time for one request of a session. Raises TimeoutError."""
    return run.http.patience(run.target.limits.step_seconds + 0.5)


def check_speaks(run: ReportBuilder, exchange: Exchange) -> dict[str, Any] | None:
    """Check that initialize was answered with JSON-RPC; returns the message."""
    message, wrong = message_of(exchange)
    with run.step("connectivity/reach", "speaks") as step:
        step.exchange = exchange
        if message is None:
            step.failed(f"Initialize was answered with {wrong}", at=wrong_at(exchange))
            run.stop_reason = "Left out: the agent does not speak MCP"
        else:
            step.passed("Initialize was answered with a JSON-RPC message")
    return message


def leave_legacy(run: ReportBuilder, stream: Exchange) -> None:
    """Say that the server has the deprecated transport alone, whose stream was found: nothing is held against it."""
    run.protocol_version = OLDEST_SUPPORTED_VERSION
    with run.step("connectivity/reach", "speaks") as step:
        step.exchange = stream
        step.not_tested(legacy_sse.WORDS)
    run.obstruct(legacy_sse.WORDS)
