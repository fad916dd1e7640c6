"""Whatever an agent says, the report passes the gate: a refused one would excuse the agent (R7, L16)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from starlette.responses import Response

from compliance.engines import Credential, Overall, Report
from compliance.engines.reports.validation import accepted
from tests.compliance.engines.servers import answer, check, raw, says, scripted, serving, tool

TOKEN = "tok-3f9a1c77e0b2"


def passed_the_gate(report: Report) -> Report:
    return accepted(report, engine="baseline", suite="baseline")


def _schemas(count: int) -> list[dict[str, Any]]:
    properties = {f"p{n}": {"type": "string"} for n in range(300)}
    return [
        tool(f"t{n}", inputSchema={"type": "object", "properties": {f"q{n}": {}, **properties}}) for n in range(count)
    ]


@pytest.mark.parametrize(
    "tools",
    [
        [tool("same") for _ in range(400)],
        _schemas(400),
        [tool("a\ud800b"), tool("nul\x00"), tool("line\nbreak\x1b[31m")],
        [tool("x", inputSchema={"type": "object", "properties": {"a\nb": {"type": "nonsense"}}})],
        [tool("x", inputSchema={"type": "object", "properties": {"k" * 3000: {"type": "nonsense"}}})],
        [tool("x", inputSchema={"type": "object", "properties": {"k\ud800": {"type": "nonsense"}}})],
        [tool("\U0001f600" * 128, inputSchema={"type": "nonsense"}) for _ in range(20)],
        [tool("x", inputSchema={"type": "object", "minLength": 10**400})],
    ],
    ids=["same names", "large schemas", "odd names", "line break in key", "long key", "surrogate", "wide", "number"],
)
async def test_report_on_odd_tools_is_accepted(tools: list[dict[str, Any]]) -> None:
    def listing(message: dict[str, Any]) -> Response:
        body = json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": {"tools": tools}})
        return Response(body, media_type="application/json")

    async with serving(scripted(tools_list=listing)) as url:
        report = passed_the_gate(await check(f"{url}/mcp"))

    assert report.overall() is not Overall.INCONCLUSIVE


@pytest.mark.parametrize(
    "reply",
    [
        answer(b"\x01" * 70_000, "text/plain"),
        answer(b"\xff" * 70_000, "application/json"),
        answer(b'"' * 70_000, "application/json"),
        answer(json.dumps({"a": "\U0001f600" * 8000}, ensure_ascii=False).encode()),
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: %s\r\n" % (n, b"\xe9" * 800) for n in range(90)) + b"\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" + b"[" * 60000,
        b"HTTP/1.1 302 Found\r\nLocation: /" + b"a" * 60000 + b"\r\nContent-Length: 0\r\n\r\n",
    ],
    ids=["control", "not utf-8", "quotes", "astral", "headers", "deep", "location"],
)
async def test_agent_that_answers_with_bytes_that_swell_is_failing(reply: bytes) -> None:
    async with raw(says(reply)) as url:
        report = passed_the_gate(await check(url))

    assert report.overall() is Overall.FAILING


async def test_secret_that_the_agent_repeats_is_nowhere_in_the_report() -> None:  # V1
    tools = [
        tool(TOKEN, annotations={"readOnlyHint": True}),
        tool("x", inputSchema={"type": "object", "properties": {TOKEN: {"type": "nonsense"}}}),
        tool("y", inputSchema={"type": "object", "$ref": f"#/{TOKEN}"}),
    ]
    info = {"name": TOKEN, "version": TOKEN}
    opening = {"protocolVersion": TOKEN, "capabilities": {"tools": {}, TOKEN: {}}, "serverInfo": info}
    for script in (
        {},
        {"initialize": opening},
        {"ping": Response(TOKEN, 500, {f"X-{TOKEN}": TOKEN, "Location": TOKEN})},
    ):
        async with serving(scripted(**{"tools_list": {"tools": tools}} | script)) as url:
            report = await check(f"{url}/mcp", credential=Credential.bearer(TOKEN), all_evidence=True)

        assert TOKEN not in json.dumps(report.to_json())
