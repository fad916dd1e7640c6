"""The allow-list: what this runner may test. Without one it tests nothing, whatever the server says."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from pathlib import Path

from compliance.engines.http.egress import NOTHING_ELSE, AddressRefused, Guard
from compliance.runners.program.addresses import host_and_port
from compliance.runners.program.problems import Exit, Problem

ANY_PUBLIC = "*"
_HOST = re.compile(r"(?!-)[^\s/@:*?#\[\]\\]{1,253}")
_WITH_PORT = re.compile(r"(?P<host>[^:\[\]]+|\[[0-9a-f:.]+\]):(?P<port>[0-9]{1,5})")
_MEND = "Write a host, host:port, an address or a network such as 10.1.0.0/16, or * for any public address."


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
        raise Problem(Exit.USAGE, f"{entry!r} on the allow-list has no valid port.", _MEND)
    if not host.startswith("[") and not _HOST.fullmatch(host):
        raise Problem(Exit.USAGE, f"{entry!r} on the allow-list is no host, address or network.", _MEND)
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
