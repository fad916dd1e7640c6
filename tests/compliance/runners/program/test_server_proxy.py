"""The proxy on the way to the server: every usual form of its variables, and its own refusals told as its own."""

from __future__ import annotations

import ssl
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compliance.runners.program.client import Client, Unavailable
from compliance.runners.program.problems import Exit, Problem
from compliance.runners.program.server_proxy import server_proxy
from tests.compliance.engines.servers import answer, bound, raw, says

URL = "https://assay.example.com"
PROXY = "http://proxy.example:3128"


@pytest.mark.parametrize(
    ("url", "environ", "address"),
    [
        (URL, {}, None),
        (URL, {"HTTPS_PROXY": PROXY}, PROXY),
        (URL, {"https_proxy": PROXY, "HTTPS_PROXY": "http://other:1"}, PROXY),
        (URL, {"HTTPS_PROXY": "  "}, None),
        (URL, {"HTTP_PROXY": PROXY}, None),
        (URL, {"HTTP_PROXY": "nonsense://"}, None),  # of no concern to this server
        (URL, {"ALL_PROXY": PROXY}, PROXY),
        (URL, {"ALL_PROXY": "socks5://a:1", "HTTPS_PROXY": PROXY}, PROXY),
        (URL, {"HTTPS_PROXY": "proxy.example:3128"}, PROXY),
        (URL, {"HTTPS_PROXY": "http://[::1]:3128"}, "http://[::1]:3128"),
        (URL, {"HTTPS_PROXY": "http://user:p%40ss@[fd00::1]:3128/"}, "http://user:p%40ss@[fd00::1]:3128/"),
        (URL, {"HTTPS_PROXY": "https://proxy.example"}, "https://proxy.example"),
        ("http://127.0.0.1:8000", {"HTTP_PROXY": PROXY}, PROXY),
    ],
)
def test_variables_are_read_in_every_usual_form(url: str, environ: dict[str, str], address: str | None) -> None:
    found = server_proxy(url, environ)
    assert (found.address if found else None) == address


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HTTPS_PROXY", "socks5://proxy.example:1080"),
        ("https_proxy", "socks5h://[::1]:1080"),
        ("ALL_PROXY", "socks4://proxy.example"),
        ("HTTPS_PROXY", "ftp://proxy.example"),
        ("HTTPS_PROXY", "http://"),
        ("HTTPS_PROXY", "http://::1:3128"),
        ("HTTPS_PROXY", "http://[::1:3128"),
        ("HTTPS_PROXY", "http://proxy.example:port"),
        ("HTTPS_PROXY", "http://proxy.example:99999"),
        ("HTTPS_PROXY", "http://proxy.example:3128/path?x"),
        ("HTTPS_PROXY", "http://user:s3cr3t pass@proxy.example:3128"),
    ],
)
def test_what_cannot_be_used_is_said_with_the_variable_and_without_the_password(name: str, value: str) -> None:
    with pytest.raises(Problem) as problem:
        server_proxy(URL, {name: value})
    assert problem.value.exit_code == Exit.USAGE
    assert problem.value.what.startswith(f"{name} ")
    assert "s3cr3t" not in str(problem.value)


@pytest.mark.parametrize(
    ("server", "entry", "direct"),
    [
        ("assay.example.com", "*", True),
        ("assay.example.com", "assay.example.com", True),
        ("assay.example.com", "EXAMPLE.com", True),
        ("assay.example.com", ".example.com", True),
        ("assay.example.com", "*.example.com", True),
        ("assay.example.com", "assay.example.com:443", True),
        ("assay.example.com", "assay.example.com:8443", False),
        ("assay.example.com:8443", "assay.example.com:8443", True),
        ("assay.example.com", "ample.com", False),
        ("assay.example.com", "a.example, assay.example.com", True),
        ("assay.example.com", "a.example assay.example.com", True),
        ("10.1.2.3", "10.0.0.0/8", True),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3", "11.0.0.0/8", False),
        ("10.1.2.3", "fd00::/8", False),
        ("assay.example.com", "10.0.0.0/8", False),
        ("[::1]", "::1", True),
        ("[::1]", "[::1]", True),
        ("[::1]:8443", "[::1]:8443", True),
        ("[::1]", "[::1]:8443", False),
        ("[fd00::7]", "fd00::/8", True),
        ("[fd00::7]", "[fd00::]/8", True),
        ("[fd00:0:0::7]", "fd00::7", True),
        ("assay.example.com", "", False),
    ],
)
def test_exceptions_are_names_domains_addresses_and_networks(server: str, entry: str, direct: bool) -> None:
    environ = {"HTTPS_PROXY": PROXY, "NO_PROXY": entry}
    assert (server_proxy(f"https://{server}", environ) is None) is direct


@pytest.mark.parametrize("entry", ["10.0.0.0/99", "fd00::/999", "[::1", "::1]", "[name]", "name/8"])
def test_exception_that_makes_no_sense_is_named(entry: str) -> None:
    with pytest.raises(Problem, match="no_proxy has"):
        server_proxy(URL, {"HTTPS_PROXY": PROXY, "no_proxy": entry})


@given(st.text(max_size=30), st.text(max_size=30))
def test_no_text_at_all_breaks_the_program(proxy: str, exceptions: str) -> None:
    problems: list[Problem] = []
    try:
        server_proxy(URL, {"HTTPS_PROXY": proxy, "NO_PROXY": exceptions})
    except Problem as problem:
        problems.append(problem)
    assert all(each.exit_code == Exit.USAGE and "_PROXY" in each.what for each in problems)


async def _words(url: str, proxy: str) -> str:
    found = server_proxy(url, {"HTTPS_PROXY": proxy, "HTTP_PROXY": proxy})
    client = Client(url, "token", context=ssl.create_default_context(), proxy=found)
    try:
        with pytest.raises(Unavailable) as unavailable:
            await client.poll({}, wait=False)
    finally:
        await client.aclose()
    return str(unavailable.value)


@pytest.mark.parametrize("server", [URL, "http://assay.example.com"])
async def test_refusal_of_a_proxy_for_want_of_a_password_is_told_as_its_own(server: str) -> None:
    refusal = answer(b"", status="407 Proxy Authentication Required")
    async with raw(says(refusal)) as url:
        proxy = url.removesuffix("/mcp").replace("//", "//user:s3cr3t@")
        words = await _words(server, proxy)

    assert words.startswith("the proxy http://127.0.0.1:")
    assert "407 Proxy Authentication Required" in words
    assert f"see {server.partition(':')[0].upper()}_PROXY" in words
    assert "s3cr3t" not in words


async def test_refusal_of_the_way_is_told_as_the_proxys() -> None:
    async with raw(says(answer(b"", status="403 Forbidden"))) as url:
        words = await _words(URL, url.removesuffix("/mcp"))

    assert "refused the way to https://assay.example.com (403 Forbidden)" in words


async def test_proxy_that_is_not_there_is_named() -> None:
    with bound() as sock:
        words = await _words(URL, f"http://127.0.0.1:{sock.getsockname()[1]}")

    assert words.startswith("no connection to the proxy http://127.0.0.1:")
    assert "HTTPS_PROXY" in words


@pytest.mark.processes
@pytest.mark.parametrize(
    ("env", "code"),
    [
        ({"HTTP_PROXY": "socks5://127.0.0.1:1080"}, 2),
        ({"HTTP_PROXY": "http://::1:3128"}, 2),
        ({"HTTP_PROXY": "socks5://127.0.0.1:1080", "NO_PROXY": "127.0.0.0/8"}, 0),
        ({"HTTP_PROXY": "http://127.0.0.1:9", "no_proxy": "[::1],127.0.0.1"}, 0),
    ],
    ids=str,
)
def test_program_ends_well_or_names_the_variable(start: Any, env: dict[str, str], code: int) -> None:
    process = start("--once", env=env)
    assert process.child.wait(30) == code
    if code:
        assert "HTTP_PROXY" in process.output()
