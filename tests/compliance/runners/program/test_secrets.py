"""Secrets of agents: from the runner's own file, or released for one lease, and nowhere to be read."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response

from compliance.engines import Credential
from compliance.runners.program.logs import SecretFilter
from compliance.runners.program.problems import Exit, Problem
from compliance.runners.program.secrets_file import read_secrets
from compliance.runners.program.token import open_to_others
from tests.compliance.engines.servers import scripted
from tests.compliance.runners.program.assay import TOKEN, Assay
from tests.compliance.runners.program.conftest import Serve, Start

pytestmark = pytest.mark.processes

SECRET = "s3cret-of-the-agent-0815"
WANTED = {"id": None, "name": "Staging key", "required": True, "may_be_released": False}


@pytest.fixture
def seen() -> list[str]:
    return []


@pytest.fixture
def guarded(serve: Serve, seen: list[str]) -> str:
    """An agent that wants a bearer token, and says it back wherever it can."""
    app = scripted()
    inner = app.router.routes[0].endpoint

    async def endpoint(request: Request) -> Response:
        seen.append(request.headers.get("authorization", ""))
        if seen[-1] != f"Bearer {SECRET}":
            return Response(f"no, not {seen[-1]}", 401, headers={"www-authenticate": "Bearer"})
        return await inner(request)

    app.router.routes[0].endpoint = endpoint
    app.router.routes[:] = [type(app.router.routes[0])("/mcp", endpoint, methods=["POST"])]
    return serve(app)


def secrets_file(folder: Path, entries: dict[str, Any]) -> Path:
    file = folder / "secrets.json"
    file.write_text(json.dumps(entries))
    file.chmod(0o600)
    return file


def nowhere_but_on_the_wire(assay: Assay, tmp_path: Path, *secrets: str) -> None:
    # V1
    for file in [*tmp_path.glob("*.log"), *(tmp_path / "state").rglob("*")]:
        if file.is_file():
            assert not [secret for secret in secrets if secret in file.read_text()], file
    said = json.dumps([body for _, body, _ in assay.calls])
    assert not [secret for secret in secrets if secret in said]


def test_a_secret_of_the_file_goes_to_the_agent_and_never_to_the_server_or_the_log(
    assay: Assay, start: Start, guarded: str, seen: list[str], tmp_path: Path
) -> None:
    work = assay.add(guarded, all_evidence=True)
    file = secrets_file(
        tmp_path, {guarded.upper().replace("HTTP", "http").replace("/MCP", "/mcp/"): {"bearer": "env:IT"}}
    )
    runner = start("--once", "--secrets-file", file, env={"IT": SECRET})
    assert runner.child.wait(30) == 0, runner.output()
    assert f"Bearer {SECRET}" in seen
    assert work.lease["overall"] == "passing"
    assert work.run["credential"] == {"source": "runner"}
    assert assay.said("credential") == []
    nowhere_but_on_the_wire(assay, tmp_path, SECRET, TOKEN)


def test_a_secret_is_found_by_the_credentials_name(assay: Assay, start: Start, guarded: str, tmp_path: Path) -> None:
    work = assay.add(guarded, credential=WANTED)
    file = secrets_file(tmp_path, {"Staging key": {"bearer": SECRET}})
    assert start("--once", "--secrets-file", file).child.wait(30) == 0
    assert work.run["credential"] == {"source": "runner"}
    assert work.lease["overall"] == "passing"


def test_a_credential_is_released_by_assay_where_the_runner_has_none(
    assay: Assay, start: Start, guarded: str, tmp_path: Path
) -> None:
    work = assay.add(guarded, credential=WANTED | {"may_be_released": True})
    assay.released = {
        "header": "Authorization",
        "value": f"Bearer {SECRET}",
        "secrets": [SECRET],
        "credential_id": "c",
        "organization_id": "org_a",
        "name": "Staging key",
    }
    assert start("--once").child.wait(30) == 0
    assert work.run["credential"] == {"source": "assay"}
    assert work.lease["overall"] == "passing"
    nowhere_but_on_the_wire(assay, tmp_path, SECRET)


@pytest.mark.parametrize("may", [True, False])
def test_a_required_credential_that_is_nowhere_fails_the_job_with_the_reason(
    assay: Assay, start: Start, guarded: str, seen: list[str], may: bool
) -> None:
    work = assay.add(guarded, credential=WANTED | {"may_be_released": may})
    assert start("--once").child.wait(30) == 0
    assert "This runner's secrets file has none for the agent or for “Staging key”" in work.run["reason"]
    assert ("The grant has ended" in work.run["reason"]) is may
    assert seen == [], "it was not tested without"


def test_a_credential_that_nobody_chose_is_done_without_and_the_run_says_so(
    assay: Assay, start: Start, guarded: str
) -> None:
    work = assay.add(guarded, credential=WANTED | {"required": False})
    assert start("--once").child.wait(30) == 0
    [notice] = [n for n in work.run["report"]["notices"] if n["code"] == "without_credential"]
    assert notice["message"].startswith("Tested without a credential. This runner's secrets file")
    assert work.run["credential"] == {"source": "none"}


def credential(folder: Path, text: str, **environment: str) -> Credential:
    file = folder / "secrets"
    file.write_text(text)
    file.chmod(0o600)
    [made] = read_secrets(file, environment).entries.values()
    return made


def test_each_form_of_a_secret_becomes_its_header(tmp_path: Path) -> None:
    bearer = credential(tmp_path, '["https://a.example/mcp"]\nbearer = "t0k"')
    assert (bearer.header, bearer.value, bearer.secrets) == ("Authorization", "Bearer t0k", ("t0k",))
    basic = credential(tmp_path, '[Name]\nbasic = { username = "u", password = "env:PW" }', PW="p")
    assert (basic.value, basic.secrets, basic.name) == ("Basic dTpw", ("p", "dTpw"), "Name")
    header = credential(tmp_path, '{"Name": {"header": {"name": "X-Key", "value": "k"}}}')
    assert (header.header, header.value) == ("X-Key", "k")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[Name]\nbearer = ", "neither TOML nor JSON"),
        ('{"Name": "s3cret"}', "has no form that is known"),
        ('[Name]\nbearer = "env:NOT_SET"', "wants NOT_SET of the environment"),
        ('[Name]\nbearer = ""', "holds an empty value"),
        ('[Name]\nbasic = { username = "s3cret" }', "lacks something in basic"),
        ('[Name]\nbearer = "s3cret\\nX: y"', "cannot be sent"),
    ],
)
def test_what_is_wrong_with_the_file_is_said_without_what_it_holds(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(Problem, match=words) as caught:
        credential(tmp_path, text)
    assert caught.value.exit_code is Exit.USAGE
    assert "s3cret" not in str(caught.value)


def test_a_file_that_others_may_read_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = secrets_file(tmp_path, {})
    file.chmod(0o644)
    with caplog.at_level(logging.WARNING):
        read_secrets(file, {})
    assert f"chmod 600 {file}" in caplog.text


def test_what_systemd_gave_to_the_service_alone_is_not_open_to_others(tmp_path: Path) -> None:
    given, elsewhere = tmp_path / "credentials" / "token", tmp_path / "token"
    systemd = {"CREDENTIALS_DIRECTORY": str(tmp_path / "credentials")}
    assert not open_to_others(given, 0o100440, systemd)
    assert open_to_others(given, 0o100444, systemd)
    assert open_to_others(elsewhere, 0o100440, systemd)
    assert open_to_others(given, 0o100440, {})
    assert not open_to_others(elsewhere, 0o100600, {})


def test_what_the_program_has_learnt_is_hidden_in_its_log() -> None:
    secret_filter = SecretFilter()
    secret_filter.add([SECRET])
    assert secret_filter.hide(f"Illegal header value b'Bearer {SECRET}'") == "Illegal header value b'Bearer [redacted]'"
