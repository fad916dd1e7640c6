"""Addresses: of the server, and of agents."""

from __future__ import annotations

import ipaddress

import httpx

from compliance.runners.program.problems import Exit, Problem

_PORTS = {"http": 80, "https": 443}
_MEND = "Give the address of the Assay server's first page, for example --url https://assay.example.com."


def host_and_port(url: str) -> tuple[str, int]:
    """Of an http or https address. Raises ValueError for anything else."""
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, TypeError) as error:
        raise ValueError(f"not an address: {error}") from None
    if parsed.scheme not in _PORTS or not parsed.host:
        raise ValueError("not an http or https address")
    return parsed.raw_host.decode("ascii"), parsed.port or _PORTS[parsed.scheme]


def same_agent(one: str, other: str) -> bool:
    """Whether two spellings are one agent's address: case of the host, default ports and a last slash do not count."""
    return _plain(one) == _plain(other)


def _plain(url: str) -> str:
    try:
        host, port = host_and_port(url)
    except ValueError:
        return url
    parsed = httpx.URL(url)
    return f"{parsed.scheme}://{host}:{port}{parsed.raw_path.decode('ascii').rstrip('/')}"


def server_url(text: str | None) -> str:
    """The server's address without a slash at its end. Raises Problem."""
    if not text:
        raise Problem(Exit.USAGE, "No server is named.", _MEND)
    try:
        parsed = httpx.URL(text.strip())
        host_and_port(text.strip())
    except (ValueError, httpx.InvalidURL):
        raise Problem(Exit.USAGE, f"--url {text!r} is not an http or https address.", _MEND) from None
    if parsed.userinfo or parsed.query or parsed.fragment:
        raise Problem(Exit.USAGE, "--url holds more than an address.", "No user, password, ? or # belongs into it.")
    return str(parsed).rstrip("/").removesuffix("/api/v1/runner").removesuffix("/api/v1")


def travels_in_the_clear(url: str) -> bool:
    """Whether the token would go unencrypted over a network."""
    parsed = httpx.URL(url)
    if parsed.scheme == "https" or parsed.host == "localhost":
        return False
    try:
        return not ipaddress.ip_address(parsed.host).is_loopback
    except ValueError:
        return True
