"""Each thing that can be wrong at the start has its own sentence, says how to mend it, and has its exit code."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route

from compliance.engines.http.egress import NOTHING_ELSE, AddressRefused, Guard
from compliance.runners.program import allowlist, cli
from compliance.runners.program.problems import Exit
from compliance.runners.program.state import State
from tests.compliance.engines.servers import serving
from tests.compliance.runners.program.assay import TOKEN, Assay, Loop, problem

pytestmark = pytest.mark.processes

Check = Callable[..., tuple[int, str]]


@pytest.fixture
def check(
    assay: Assay, token_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Check:
    """`assay-runner check` with what every start needs, changed as a test wants; returns exit code and output."""
    monkeypatch.delenv("ASSAY_RUNNER_TOKEN", raising=False)

    def run(command: str = "check", *more: str, **changes: Any) -> tuple[int, str]:
        given = {"url": assay.url, "token-file": token_file, "state-dir": tmp_path / "state", "allow": "127.0.0.1"}
        given |= {name.replace("_", "-"): value for name, value in changes.items()}
        options = [part for name, value in given.items() if value is not None for part in (f"--{name}", str(value))]
        code = cli.main([command, *options, *more])
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return run


def test_all_is_well(check: Check, assay: Assay) -> None:
    code, said = check()
    assert code == Exit.OK, said
    assert "WRONG" not in said
    assert "takes the token" in said
    assert "the clock agrees with the server's" in said
    assert "may test: 127.0.0.1" in said
    assert assay.said("poll") == [], "a check takes no work"


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"url": None}, Exit.USAGE, "No server is named"),
        ({"url": "assay.example.com"}, Exit.USAGE, "is not an http or https address"),
        ({"url": "https://u:p@assay.example.com"}, Exit.USAGE, "holds more than an address"),
        ({"token_file": None}, Exit.TOKEN, "neither --token-file nor ASSAY_RUNNER_TOKEN is given"),
        ({"token_file": "/nowhere/token"}, Exit.TOKEN, "does not exist"),
        ({"token_file": "/"}, Exit.TOKEN, "cannot be read"),
        ({"allow": None}, Exit.USAGE, "nothing says what this runner may test"),
        ({"allow": "http://a/b"}, Exit.USAGE, "is no host, address or network"),
        ({"allow": "a:99999"}, Exit.USAGE, "has no valid port"),
        ({"allow_file": "/nowhere/list"}, Exit.USAGE, "The allow-list /nowhere/list cannot be read"),
        ({"state_dir": "/proc/nowhere"}, Exit.STATE, "cannot be used"),
        ({"ca_file": "/nowhere/ca.pem"}, Exit.USAGE, "--ca-file /nowhere/ca.pem cannot be used"),
        ({"secrets_file": "/nowhere/secrets"}, Exit.USAGE, "The secrets file /nowhere/secrets does not exist"),
    ],
)
def test_what_is_missing_or_wrong(check: Check, changes: dict[str, Any], code: Exit, words: str) -> None:
    found, said = check(**changes)
    assert found == code, said
    assert words in said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("hello", "holds no runner's token"),
        (TOKEN.replace("asr_", "ask_"), "an organization's API key"),
        (f"{TOKEN}\nmore", "was cut or altered: it has 61 characters"),
        (f"{TOKEN[:30]}\n{TOKEN[30:]}", "was cut or altered: it has 57 characters"),
        (TOKEN[:-1], "was cut or altered: it has 55 characters"),
        ("asr_Ab12Cd34_wrong", "was cut or altered: it has 18 characters"),
        (
            TOKEN[:-1] + "…",
            "was cut or altered: it has 56 characters. A token is asr_, 8 characters, _ and 43",
        ),
    ],
)
def test_a_file_without_a_token(check: Check, token_file: Path, text: str, words: str) -> None:
    token_file.write_text(text)
    code, said = check()
    assert (code, words in said) == (Exit.TOKEN, True), said
    assert "k" * 10 not in said
    assert "wrong." not in said


def test_a_token_that_was_cut_or_altered_is_not_called_another_kind_of_text(check: Check, token_file: Path) -> None:
    token_file.write_text("asr_Ab12Cd34_wrong")
    _, said = check()
    assert "begin with asr_" not in said
    assert "Copy it again." in said


def test_a_token_that_others_may_read(check: Check, token_file: Path) -> None:
    token_file.chmod(0o640)
    code, said = check()
    assert code == Exit.OK
    assert f"chmod 600 {token_file}" in said


@pytest.mark.parametrize("why", ["unknown", "expired", "revoked"])
def test_a_token_that_the_server_refuses(check: Check, assay: Assay, why: str) -> None:
    async def refuse(request: Any, body: Any) -> Any:
        return problem(401, "unauthorized", f"The token is {why}.")

    assay.fault("renew", refuse)
    code, said = check()
    assert (code, f"The token is {why}." in said) == (Exit.TOKEN, True), said
    assert "can give the runner a new token" in said
    assert "A runner that is no longer there was deleted: create another one" in said


def test_a_runner_that_was_disabled_is_not_sent_for_a_new_token(check: Check, assay: Assay) -> None:
    async def refuse(request: Any, body: Any) -> Any:
        return problem(403, "not-allowed", "This runner is disabled or deleted. An admin can enable it.")

    assay.fault("renew", refuse)
    code, said = check()
    assert (code, "That is done in Assay, under Runners; a new token changes nothing." in said) == (Exit.TOKEN, True)
    assert "can give the runner a new token" not in said


def test_nothing_listens_there(check: Check) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        code, said = check(url=f"http://127.0.0.1:{free.getsockname()[1]}")
    assert (code, "nothing listens at" in said) == (Exit.SERVER, True), said


async def _page(request: Any) -> Any:
    return PlainTextResponse("It works!", 200)


async def _older(request: Any) -> Any:
    body = {"type": "/problems/not-found", "title": "Not found", "status": 404, "detail": "There is no such thing."}
    return JSONResponse(body, 404, media_type="application/problem+json")


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [(_page, Exit.SERVER, "is --url an Assay server"), (_older, Exit.VERSION, "does not understand")],
)
def test_another_or_an_older_server(check: Check, background: Loop, answer: Any, code: Exit, words: str) -> None:
    url = background.enter(serving(Starlette(routes=[Route("/{any:path}", answer, methods=["POST"])])))
    found, said = check(url=url)
    assert (found, words in said) == (code, True), said


def test_a_certificate_of_a_private_authority(check: Check, background: Loop, assay: Assay, tmp_path: Path) -> None:
    authority = trustme.CA()
    files = {name: str(tmp_path / name) for name in ("key", "cert", "ca")}
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(files["key"])
    issued.cert_chain_pems[0].write_to_path(files["cert"])
    authority.cert_pem.write_to_path(files["ca"])
    url = background.enter(serving(assay.app(), ssl_keyfile=files["key"], ssl_certfile=files["cert"]))
    code, said = check(url=url)
    assert (code, "is not trusted" in said, "--ca-file" in said) == (Exit.SERVER, True, True), said
    assert check(url=url, ca_file=files["ca"])[0] == Exit.OK


def test_a_state_folder_that_another_runner_uses(check: Check, assay: Assay, tmp_path: Path) -> None:
    other = State(tmp_path / "state", server=assay.url)
    code, said = check("run", "--once")
    assert (code, f"Another runner uses {tmp_path / 'state'} (process {os.getpid()})" in said) == (Exit.STATE, True)
    assert check()[0] == Exit.OK, "a check beside the service is no fault"
    other.close()


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b"" for path in folder.rglob("*")}


def test_a_check_leaves_everything_as_it_is(check: Check, tmp_path: Path) -> None:
    before = files_below(tmp_path)
    code, said = check(state_dir=tmp_path / "new" / "state")
    assert (code, f"the state folder is {tmp_path / 'new' / 'state'}" in said) == (Exit.OK, True), said
    assert files_below(tmp_path) == before, "it makes no state folder"
    State(tmp_path / "state", server="https://other.example").close()
    before = files_below(tmp_path)
    assert check()[0] == Exit.OK
    assert files_below(tmp_path) == before


def test_a_file_in_the_place_of_the_state_folder(check: Check, tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    for place in (tmp_path / "taken", tmp_path / "taken" / "below"):
        for command in ("check", "run"):
            code, said = check(command, state_dir=place)
            assert (code, f"The state folder {place} cannot be used" in said) == (Exit.STATE, True), said


def test_a_state_folder_with_results_for_another_server(check: Check, assay: Assay, tmp_path: Path) -> None:
    State(tmp_path / "state", server="https://other.example").close()
    (tmp_path / "state" / "outbox" / "x.json").write_text("{}")
    for command in ("check", "run"):
        code, said = check(command)
        assert (code, "holds answers for https://other.example" in said) == (Exit.STATE, True), said


def test_no_engine_can_run_here(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "engine_versions", dict)
    code, said = check("run")
    assert (code, "No engine can run here" in said) == (Exit.ENGINES, True)


def test_a_server_that_speaks_another_version(check: Check, assay: Assay) -> None:
    async def newer(request: Any, body: Any) -> Any:
        return JSONResponse({"work": []})

    assay.fault("poll", newer)
    code, said = check("run", "--once")
    assert (code, "“leases” is missing" in said) == (Exit.VERSION, True), said


def test_a_log_for_machines(check: Check) -> None:
    code, said = check("run", "--once", log_format="json")
    assert code == Exit.OK
    import json

    lines = [json.loads(line) for line in said.splitlines()]
    assert {"time", "level", "logger", "message"} == set(lines[0])


def test_the_token_is_no_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--token", TOKEN])


@pytest.mark.parametrize(
    ("allow", "host", "port", "may"),
    [
        (["10.0.0.0/8"], "10.1.2.3", 80, True),
        (["10.0.0.0/8"], "11.1.2.3", 80, False),
        (["10.0.0.0/8"], "8.8.8.8", 443, False),
        (["*"], "8.8.8.8", 443, True),
        (["*"], "10.1.2.3", 80, False),
        (["*", "10.1.2.3"], "10.1.2.3", 80, True),
        (["agent.internal"], "agent.internal", 80, True),
        (["agent.internal:8080"], "agent.internal", 80, False),
        (["agent.internal:8080"], "agent.internal", 8080, True),
        (["agent.internal"], "other.internal", 80, False),
        (["[::1]:8080"], "::1", 8080, True),
        (["[::1]:8080"], "::1", 80, False),
    ],
)
def test_what_is_on_the_list_may_be_reached_and_nothing_else(allow: list[str], host: str, port: int, may: bool) -> None:
    # V7
    asked = []

    async def resolve(name: str, port: int) -> list[str]:
        asked.append(name)
        return ["10.77.0.1"]

    guard = Guard(allowlist.for_engines(allowlist.parse(allow, None)), resolve)
    if may:
        assert asyncio.run(guard.check(host, port))
    else:
        with pytest.raises(AddressRefused):
            asyncio.run(guard.check(host, port))
        assert asked == [], "nobody is asked for the addresses of a name that is not on the list"


def test_a_name_is_judged_by_its_addresses_where_the_list_has_networks() -> None:
    async def resolve(name: str, port: int) -> list[str]:
        return {"in.internal": ["10.1.0.9"], "out.example": ["93.184.216.34"]}[name]

    guard = Guard((NOTHING_ELSE, "10.1.0.0/16"), resolve)
    assert asyncio.run(guard.check("in.internal", 80)) == ["10.1.0.9"]
    with pytest.raises(AddressRefused, match="is not on the allow-list"):
        asyncio.run(guard.check("out.example", 80))
