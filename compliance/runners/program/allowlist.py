"""Addresses of the server and of agents, and the allow-list of what this runner may test.

Without an allow-list it tests nothing, whatever the server says.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from pathlib import Path

import httpx

from compliance.engines.http.egress import NOTHING_ELSE, AddressRefused, Guard
from compliance.runners.program.problems import Exit, Problem

ANY_PUBLIC = "*"
_HOST = re.compile(r"(?!-)[^\s/@:*?#\[\]\\]{1,253}")
_WITH_PORT = re.compile(r"(?P<host>[^:\[\]]+|\[[0-9a-f:.]+\]):(?P<port>[0-9]{1,5})")
_REMEDY = "Write a host, host:port, an address or a network such as 10.1.0.0/16, or * for any public address."
_PORTS = {"http": 80, "https": 443}
_SERVER_REMEDY = "Give the address of the Assay server's first page, for example --url https://assay.example.com."


def parse(entries: Iterable[str], file: Path | None) -> tuple[str, ...]:
    """The entries of the command line and of the file, checked. Raises Problem for none, and for what is none."""
    found = [entry.strip() for entry in entries]
    if file is not None:
        try:
            lines = file.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is no text"
            raise Problem(
                Exit.USAGE, f"The allow-list {file} cannot be read: {why}.", "Check --allow-file and who may read it."
            ) from None
        found += [line.split("#", 1)[0].strip() for line in lines]
    allowed = tuple(dict.fromkeys(_checked(entry.lower()) for entry in found if entry))
    if not allowed:
        raise Problem(
            Exit.USAGE,
            "There is no allow-list: nothing says what this runner may test.",
            "Give --allow HOST (repeatable) or --allow-file FILE; --allow '*' allows any public address.",
        )
    return allowed


def _checked(entry: str) -> str:
    if entry == ANY_PUBLIC:
        return entry
    try:
        ipaddress.ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        pass
    else:
        return entry
    with_port = _WITH_PORT.fullmatch(entry)
    host = with_port["host"] if with_port else entry
    if with_port and not 0 < int(with_port["port"]) < 65536:
        raise Problem(Exit.USAGE, f"{entry!r} on the allow-list has no valid port.", _REMEDY)
    if not host.startswith("[") and not _HOST.fullmatch(host):
        raise Problem(Exit.USAGE, f"{entry!r} on the allow-list is no host, address or network.", _REMEDY)
    return entry


def for_engines(allowed: Iterable[str]) -> tuple[str, ...]:
    """The allow-list as the engines' guard takes it."""
    entries = tuple(allowed)
    if ANY_PUBLIC in entries:
        return tuple(entry for entry in entries if entry != ANY_PUBLIC)
    return (NOTHING_ELSE, *entries)


async def refusal(allowed: tuple[str, ...], url: str) -> str:
    """Why this agent may not be tested here, in a sentence; "" when it may, or when its name cannot be looked up.

    Asked before anything is opened, a credential included. The engines' own guard asks again, for every connection.
    """
    host, port = host_and_port(url)
    try:
        await Guard(for_engines(allowed)).check(host, port)
    except AddressRefused as refused:
        why = str(refused).removeprefix("address not allowed: ")
        return f"This runner's allow-list does not let it test {host} port {port}: {why}"
    except OSError:
        return ""  # that the name is unknown is for the engine to report, as for any agent
    return ""


def in_words(allowed: Iterable[str]) -> str:
    entries = ["any public address" if entry == ANY_PUBLIC else entry for entry in allowed]
    return ", ".join(entries)


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
        raise Problem(Exit.USAGE, "No server is named.", _SERVER_REMEDY)
    try:
        parsed = httpx.URL(text.strip())
        host_and_port(text.strip())
    except (ValueError, httpx.InvalidURL):
        raise Problem(Exit.USAGE, f"--url {text!r} is not an http or https address.", _SERVER_REMEDY) from None
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
