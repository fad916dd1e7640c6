"""The exchanges behind the steps: true to the HTTP client, without secrets, within a size."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trustme
from starlette.responses import RedirectResponse

from compliance.engines import Credential, Evidence, Limits, Overall, Report, Verdict
from compliance.engines.process.node_runtime import node
from compliance.engines.suites.adcp import AdcpEngine
from compliance.engines.suites.adcp import evidence as evidence_module
from compliance.engines.suites.adcp.evidence import message_of, nearest
from tests.compliance.engines.servers import serving, step
from tests.compliance.engines.suites.adcp.agents import CAPABILITIES, Scripted, check, target

pytestmark = pytest.mark.processes

TOKEN = "tok-51515151-very-secret"


def everything(report: Report) -> str:
    kept = [
        (str(replace(s, evidence=None)), s.evidence and (s.evidence.request, s.evidence.response))
        for _, _, s in report.steps()
    ]
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


def test_a_credential_goes_to_no_other_origin_by_redirect_or_by_address() -> None:  # V1
    script = """
        const { Wire } = require(process.argv[1] + "/wire.cjs");
        const sent = [];
        globalThis.fetch = async (url, init) => {
          sent.push([String(url), Object.fromEntries(init.headers)]);
          if (!String(url).startsWith("https://agent.example")) return new Response("");
          return new Response(null, { status: 307, headers: { location: "https://other.example/" } });
        };
        new Wire("https://agent.example/mcp", {
          header: { name: "x-agent-key", value: "key-1" }, secrets: ["key-1", "token-1"], cap: 10,
        }).start();
        const headers = { authorization: "Bearer token-1", "x-adcp-auth": "token-1", accept: "*/*" };
        const init = { method: "POST", headers };
        fetch("https://agent.example/mcp", init)
          .then(() => fetch("https://third.example/", init))
          .then(() => console.log(JSON.stringify(sent)));
    """
    folder = Path(evidence_module.__file__).parent
    done = subprocess.run([node(), "-e", script, folder], capture_output=True, text=True, timeout=60, check=True)

    credentials = {"authorization": "Bearer token-1", "x-adcp-auth": "token-1", "x-agent-key": "key-1"}
    assert json.loads(done.stdout) == [
        ["https://agent.example/mcp", {"accept": "*/*", **credentials}],
        ["https://other.example/", {"accept": "*/*"}],
        ["https://third.example/", {"accept": "*/*"}],
    ]


async def test_a_credential_in_a_header_of_its_own_survives_a_redirect_at_home() -> None:
    agent = Scripted()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        moved = scope["type"] == "http" and scope["path"] == "/old/mcp"
        await (RedirectResponse("/mcp") if moved else agent)(scope, receive, send)

    async with serving(app) as url:
        report = await check(
            f"{url}/old/mcp",
            credential=Credential("X-Agent-Key", TOKEN),
            suite="adcp-universal-capability-discovery",
        )

    assert report.counts()["passed"] > 0
    assert agent.headers
    assert all(headers["x-agent-key"] == TOKEN for headers in agent.headers)


async def test_an_agent_behind_tls_is_reached_through_the_proxy(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    files = {"ssl_certfile": str(tmp_path / "cert.pem"), "ssl_keyfile": str(tmp_path / "key.pem")}
    trusting = AdcpEngine(environment={"NODE_EXTRA_CA_CERTS": str(tmp_path / "ca.pem")})
    async with serving(Scripted(), **files) as url:
        asked = target(f"{url}/mcp", suite="adcp-universal-security")
        trusted, untrusted = await trusting.run(asked), await AdcpEngine().run(asked)

    # The runner's own probe, which brings its own connections, was answered with 404 too.
    probe = step(trusted, "security_baseline/oauth_discovery", "probe_protected_resource")
    assert probe.verdict is Verdict.NOT_APPLICABLE
    assert untrusted.overall() is Overall.FAILING


async def test_a_failing_step_shows_its_exchange_and_the_failing_place() -> None:
    broken = {**CAPABILITIES, "supported_protocols": "signals"}
    async with serving(Scripted(get_adcp_capabilities=lambda arguments, headers: broken)) as url:
        report = await check(f"{url}/mcp", suite="adcp-universal-capability-discovery")

    found = next(one for _, _, one in report.steps() if one.verdict is Verdict.FAILED)
    assert found.evidence is not None
    assert found.evidence.request["method"] == "POST"
    assert found.evidence.request["url"] == f"{url}/mcp"
    assert found.evidence.request["body"]["params"]["name"] == "get_adcp_capabilities"
    assert found.evidence.response["status"] == 200
    assert found.evidence.response["headers"]["content-type"] == "application/json"
    assert found.evidence.pointer == "/response/body/result/structuredContent/supported_protocols"
    assert found.spec_url == "https://docs.adcontextprotocol.org/docs/protocol/get_adcp_capabilities"
    assert found.requirement.startswith("capability_discovery/")
    assert "supported_protocols" in found.actual


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
