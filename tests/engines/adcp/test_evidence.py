"""The exchanges behind the steps: true to the wire, without secrets, within a size."""

from __future__ import annotations

import json
from typing import Any

import pytest

from compliance.engines import Credential, Evidence, Limits, Report, Verdict
from compliance.engines.adcp.evidence import message_of, nearest

from ..servers import serving
from .agents import CAPABILITIES, Scripted, check

TOKEN = "tok-51515151-very-secret"


def everything(report: Report) -> str:
    kept = [(s.stored(), s.evidence and (s.evidence.request, s.evidence.response)) for _, _, s in report.steps()]
    return json.dumps([kept, report.observations, [n.message for n in report.notices], report.harness_error])


def evidence(report: Report) -> list[Evidence]:
    return [step.evidence for _, _, step in report.steps() if step.evidence is not None]


def echo(arguments: dict[str, Any], headers: dict[str, str]) -> Any:
    said = headers.get("authorization", headers.get("x-agent-key", "nothing"))
    return {**CAPABILITIES, "token": said, "note": f"you sent {said}, {said.encode().hex()}", "supported_protocols": 5}


@pytest.mark.parametrize(
    "credential",
    [
        Credential.bearer(TOKEN),
        Credential("Authorization", "Basic dXNlcjp0b2stNTE1MTUxNTEtdmVyeS1zZWNyZXQ=", (TOKEN,)),
        Credential("X-Agent-Key", TOKEN),
    ],
    ids=["bearer", "basic", "own header"],
)
async def test_an_agent_that_echoes_the_credential_gets_it_into_no_report(credential: Credential) -> None:  # V1
    agent = Scripted(get_adcp_capabilities=echo)
    async with serving(agent) as url:
        report = await check(f"{url}/mcp", credential=credential, suite="adcp-universal-capability-discovery")

    assert any(credential.value in headers.values() for headers in agent.headers)  # it did arrive
    assert evidence(report)
    assert "you sent [redacted]" in everything(report)
    for secret in (TOKEN, credential.value, "dXNlcjp0b2st"):
        assert secret not in everything(report)


async def test_a_failing_step_shows_its_exchange_and_the_failing_place() -> None:
    broken = {**CAPABILITIES, "supported_protocols": "signals"}
    async with serving(Scripted(get_adcp_capabilities=lambda arguments, headers: broken)) as url:
        report = await check(f"{url}/mcp", suite="adcp-universal-capability-discovery")

    step = next(step for _, _, step in report.steps() if step.verdict is Verdict.FAILED)
    assert step.evidence is not None
    assert step.evidence.request["method"] == "POST"
    assert step.evidence.request["url"] == f"{url}/mcp"
    assert step.evidence.request["body"]["params"]["name"] == "get_adcp_capabilities"
    assert step.evidence.response["status"] == 200
    assert step.evidence.response["headers"]["content-type"] == "application/json"
    assert step.evidence.pointer == "/response/body/result/structuredContent/supported_protocols"
    assert step.spec_url == "https://docs.adcontextprotocol.org/docs/protocol/get_adcp_capabilities"
    assert step.requirement.startswith("capability_discovery/")
    assert "supported_protocols" in step.actual


async def test_passed_steps_keep_their_exchanges_only_when_asked_to() -> None:
    async with serving(Scripted()) as url:
        few = await check(f"{url}/mcp", suite="adcp-universal-capability-discovery")
        all_of_them = await check(f"{url}/mcp", suite="adcp-universal-capability-discovery", all_evidence=True)

    assert few.counts()["failed"] == 0
    assert evidence(few) == []
    assert len(evidence(all_of_them)) == few.counts()["passed"]


async def test_a_large_answer_is_cut_and_the_cut_is_said() -> None:
    large = {**CAPABILITIES, "supported_protocols": 5, "filling": "x" * 500_000}
    limits = Limits(evidence_bytes=4096)
    async with serving(Scripted(get_adcp_capabilities=lambda arguments, headers: large)) as url:
        report = await check(f"{url}/mcp", suite="adcp-universal-capability-discovery", limits=limits)

    body = evidence(report)[0].response["body"]
    assert body.endswith("bytes in all]")
    assert len(body) < 4200
    assert evidence(report)[0].pointer == ""


@pytest.mark.parametrize(
    ("pointer", "expected"),
    [("/a/b", "/a/b"), ("/a/1", "/a"), ("/c/1/d", "/c/1/d"), ("/c/2", "/c"), ("/x~1y", "/x~1y"), ("", ""), ("/z", "")],
)
def test_a_pointer_to_what_is_missing_ends_where_it_should_have_been(pointer: str, expected: str) -> None:
    assert nearest({"a": {"b": 1}, "c": [0, {"d": 1}], "x/y": 1}, pointer) == expected


def test_the_last_message_of_a_stream_is_the_answer() -> None:
    assert message_of('event: message\ndata: {"progress": 1}\n\ndata: {"id": 1}\n\n') == '{"id": 1}'
    assert message_of('{"id": 1}') == '{"id": 1}'
