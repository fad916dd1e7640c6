"""The proxy on the way to the server, as the environment's usual variables name it.

They are read here, before any client is made, and no library reads them again: what one cannot use is said with the
variable's name, and not as a fault of the program.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from compliance.runners.program.problems import Exit, Problem

_REMEDY = "Give it as http://host:port or https://host:port, an IPv6 address in brackets, or unset it."
_SOCKS = ("socks", "socks4", "socks4a", "socks5", "socks5h")
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class ServerProxy:
    address: str  # with user and password, where it has them
    variable: str  # that names it

    @property
    def shown(self) -> str:
        """The address as messages may show it."""
        url = httpx.URL(self.address)
        return str(url.copy_with(userinfo=b""))

    @property
    def password(self) -> str:
        return httpx.URL(self.address).password


def server_proxy(url: str, environ: Mapping[str, str]) -> ServerProxy | None:
    """The proxy for connections to the server at this address; None when it is reached directly. Raises Problem."""
    server = urlsplit(url)
    variable, value = _first_set(environ, f"{server.scheme}_proxy", "all_proxy")
    if not value or _is_excepted(server.hostname or "", server.port or _PORTS.get(server.scheme, 0), environ):
        return None
    return ServerProxy(_address(variable, value), variable)


def _first_set(environ: Mapping[str, str], *names: str) -> tuple[str, str]:
    """The first of these variables that says something, in small letters or else in capitals."""
    for name in names:
        for spelling in (name, name.upper()):
            if value := environ.get(spelling, "").strip():
                return spelling, value
    return "", ""


def _address(variable: str, value: str) -> str:
    text = value if "://" in value else f"http://{value}"
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
        if not host or parts.path.strip("/") or parts.query or parts.fragment or re.search(r"\s", text):
            raise ValueError
        # A user's password is shown to nobody, also where the address makes no sense.
        httpx.URL(text)
    except (ValueError, httpx.InvalidURL):
        raise Problem(Exit.USAGE, f"{variable} is not the address of a proxy.", _REMEDY) from None
    if parts.scheme.lower() in _SOCKS:
        words = f"{variable} names a SOCKS proxy, and this program speaks to none."
        raise Problem(Exit.USAGE, words, "Give an HTTP proxy, or unset it.")
    if parts.scheme.lower() not in _PORTS or port == 0:
        raise Problem(Exit.USAGE, f"{variable} is not the address of an HTTP proxy.", _REMEDY)
    return text


def _is_excepted(host: str, port: int, environ: Mapping[str, str]) -> bool:
    """Whether NO_PROXY has the server: as a name, a domain, an address or a network, with a port or without."""
    variable, value = _first_set(environ, "no_proxy")
    name = host.rstrip(".").lower()
    return any(_covers(entry, name, port, variable) for entry in re.split(r"[\s,]+", value.lower()) if entry)


def _covers(entry: str, host: str, port: int, variable: str) -> bool:
    if entry == "*":
        return True
    place, only_port = _split_port(entry, variable)
    if only_port not in (None, port):
        return False
    address = _as_address(host)
    if "/" in place or _as_address(place) is not None:
        try:
            network = ipaddress.ip_network(place, strict=False)
        except ValueError:
            raise Problem(Exit.USAGE, f"{variable} has {entry!r}, which is no network.", "Correct it.") from None
        return address is not None and address.version == network.version and address in network
    domain = place.removeprefix("*").strip(".")
    return bool(domain) and (host == domain or host.endswith(f".{domain}"))


def _split_port(entry: str, variable: str) -> tuple[str, int | None]:
    """What stands before the port, without brackets, and the port."""
    bracketed = re.fullmatch(r"\[([^\]/]*)\](/\d+)?(?::(\d+))?", entry)
    if bracketed and _as_address(bracketed[1]) is not None:
        return bracketed[1] + (bracketed[2] or ""), int(bracketed[3]) if bracketed[3] else None
    if "[" in entry or "]" in entry:
        raise Problem(Exit.USAGE, f"{variable} has {entry!r}, which is no address in brackets.", "Correct it.")
    if entry.count(":") == 1 and entry.rpartition(":")[2].isdecimal():
        place, _, number = entry.partition(":")
        return place, int(number)
    return entry, None


def _as_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text.strip("[]").partition("%")[0])
    except ValueError:
        return None
