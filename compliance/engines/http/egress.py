"""The egress guard: which addresses a run may connect to (V7).

A name is resolved once in a run, every address that it has must be allowed, and the connection is made to
the address that was checked. What a URL says therefore does not matter, only where the bytes would go:
redirects, odd notations and a second, different DNS answer all end here.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import re
import socket
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolve = Callable[[str, int], Coroutine[Any, Any, list[str]]]

# Written out rather than taken from `is_global`, whose answer differs between Python versions.
_REFUSED_V4: tuple[tuple[str, str], ...] = (
    ("0.0.0.0/8", "this network"),
    ("10.0.0.0/8", "private"),
    ("100.64.0.0/10", "carrier-grade NAT"),
    ("127.0.0.0/8", "loopback"),
    ("169.254.0.0/16", "link-local, where clouds keep their metadata"),
    ("172.16.0.0/12", "private"),
    ("192.0.0.0/24", "protocol assignments"),
    ("192.0.2.0/24", "documentation"),
    ("192.88.99.0/24", "6to4 relay"),
    ("192.168.0.0/16", "private"),
    ("198.18.0.0/15", "benchmarking"),
    ("198.51.100.0/24", "documentation"),
    ("203.0.113.0/24", "documentation"),
    ("168.63.129.16/32", "cloud platform service"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved or broadcast"),
)
# IPv6 is the other way round: only global unicast is allowed, and of that not these.
_REFUSED_V6: tuple[tuple[str, str], ...] = (
    ("2001::/23", "protocol assignments, Teredo included"),
    ("2001:db8::/32", "documentation"),
    ("2002::/16", "6to4"),
    ("3fff::/20", "documentation"),
)
_V4 = tuple((ipaddress.IPv4Network(network), reason) for network, reason in _REFUSED_V4)
_V6 = tuple((ipaddress.IPv6Network(network), reason) for network, reason in _REFUSED_V6)
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_WITHIN = re.compile(r"\d+(?:\.\d+){3}")  # an address in the words for why another is refused
_ISATAP = (0x00005EFE, 0x02005EFE)


# In the list of what is allowed: whatever the list does not have is refused, public addresses too.
NOTHING_ELSE = "!public"

EGRESS_LOG = logging.getLogger("assay.egress")


@dataclass(frozen=True, slots=True)
class Connection:
    """One connection of a run, or the attempt at one. Never a path, a header or what was said."""

    host: str  # "" when the client did not get as far as saying one
    port: int
    address: str  # where it went; "" when it went nowhere
    bytes_up: int
    bytes_down: int
    seconds: float
    outcome: str  # "ok", "refused", "unreachable", "limit", "broken", "stopped", "malformed" or "unauthorized"

    def log(self, run_key: str) -> None:
        EGRESS_LOG.info(
            "run=%s host=%s port=%d address=%s up=%d down=%d seconds=%.3f outcome=%s",
            *(run_key or "-", self.host or "-", self.port, self.address or "-"),
            *(self.bytes_up, self.bytes_down, self.seconds, self.outcome),
        )


class AddressRefused(Exception):
    """The run may not connect there. This is our rule, not the agent's fault."""


async def system_resolve(host: str, port: int) -> list[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def refusal(address: Address) -> str:
    """Why this address is off limits, or "" when it is not."""
    if isinstance(address, ipaddress.IPv4Address):
        return next((reason for network, reason in _V4 if address in network), "")
    if address.is_loopback:
        return "loopback"
    if address.is_unspecified:
        return "unspecified"
    if address.ipv4_mapped is not None:
        return _embedded(address.ipv4_mapped, "IPv4-mapped")
    if address in _NAT64:
        return _embedded(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF), "NAT64")
    if address.is_multicast:
        return "multicast"
    if address.is_link_local:
        return "link-local"
    if address not in _GLOBAL_UNICAST:
        return "not a global unicast address"
    if (int(address) >> 32) & 0xFFFFFFFF in _ISATAP:
        return "ISATAP tunnel"
    return next((reason for network, reason in _V6 if address in network), "")


def _embedded(inner: ipaddress.IPv4Address, form: str) -> str:
    # A public address in such a form is reachable in its plain form too: nobody needs this one.
    return f"{form} form of {inner}" + (f" ({reason})" if (reason := refusal(inner)) else "")


def _parse_address(text: str) -> Address | None:
    try:
        return ipaddress.ip_address(text.strip("[]").split("%", 1)[0])
    except ValueError:
        return None


def written_address(host: str) -> Address | None:
    """The address that a host's name is by itself, in whatever notation; None for a name that has to be looked up."""
    name = host.strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return ipaddress.IPv4Address("127.0.0.1")
    if (address := _parse_address(name)) is not None:
        return address
    try:
        # As resolvers read it: 127.1, 0x7f.1 and 2130706433 are addresses, too.
        return ipaddress.IPv4Address(socket.inet_aton(name))
    except (OSError, UnicodeError):
        return None


class Guard:
    """The addresses that one run may use. Remembers each answer of the resolver for the run.

    allow: hosts, host:port, addresses and networks that are exempt from the rules; with NOTHING_ELSE among them they
    are all that may be reached. It stands in the list, and not beside it, so that an engine that hands the list on
    cannot forget it.
    """

    def __init__(self, allow: Iterable[str] = (), resolve: Resolve = system_resolve, *, run_key: str = "") -> None:
        self.run_key = run_key  # names the run in the log of its connections
        self._resolve = resolve
        self._networks: list[Network] = []
        self._hosts: set[str] = set()
        self._checked: dict[tuple[str, int], list[str]] = {}
        self._answers: dict[str, asyncio.Future[list[str]]] = {}
        self._confined = False
        for entry in allow:
            self._add(entry.strip().lower())

    def _add(self, entry: str) -> None:
        if not entry:
            return
        if entry == NOTHING_ELSE:
            self._confined = True
            return
        try:
            self._networks.append(ipaddress.ip_network(entry.strip("[]"), strict=False))
        except ValueError:
            self._hosts.add(entry)

    def _exempt_host(self, host: str, port: int) -> bool:
        bracketed = f"[{host}]" if ":" in host else host
        return host in self._hosts or f"{bracketed}:{port}" in self._hosts

    def exempts(self, host: str, port: int) -> bool:
        """Whether the allow-list names this host, or a network of the address that it is. Looks nothing up."""
        address = written_address(host)
        name = host.strip("[]").rstrip(".").lower()
        return self._exempt_host(name, port) or (address is not None and self._allows(address))

    def _allows(self, address: Address) -> bool:
        mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
        candidates = [address] if mapped is None else [address, mapped]
        return any(c.version == network.version and c in network for c in candidates for network in self._networks)

    async def check(self, host: str, port: int) -> list[str]:
        """The addresses to connect to, each of them checked; raises AddressRefused or OSError."""
        name = host.strip("[]").rstrip(".").lower()
        known = self._checked.get((name, port))
        if known is not None:
            return known
        literal = _parse_address(name)
        if self._confined and literal is None and not self._networks and not self._exempt_host(name, port):
            # None of its addresses could make a difference: nobody is even asked for them.
            raise AddressRefused(f"address not allowed: {name} is not on the allow-list")
        if literal is not None:
            # A zone index would choose a network interface of ours.
            addresses = [str(literal)]
        else:
            addresses = await self._look_up(name, port)
        if not addresses:
            raise OSError(f"{name} has no address")
        if not self._exempt_host(name, port):
            for text in addresses:
                self._check_address(name, text)
        self._checked[name, port] = addresses
        return addresses

    async def _look_up(self, name: str, port: int) -> list[str]:
        """The name's addresses. All who ask in a run get one answer, also those who ask at the same time."""
        answer = self._answers.get(name)
        if answer is None:
            answer = self._answers[name] = asyncio.ensure_future(self._resolve(name, port))
            answer.add_done_callback(lambda done: self._forget_failure(name, done))
        try:
            # Who stops waiting does not take the answer from the others.
            return await asyncio.shield(answer)
        except UnicodeError as error:
            raise OSError(f"{name!r} is not a host name") from error

    def _forget_failure(self, name: str, answer: asyncio.Future[list[str]]) -> None:
        if answer.cancelled() or answer.exception() is not None:
            del self._answers[name]  # that was no answer: the next one may ask again

    def _check_address(self, name: str, text: str) -> None:
        address = _parse_address(text)
        if address is None:
            raise AddressRefused(f"address not allowed: {name} has no usable address")
        if self._allows(address):
            return
        if self._confined:
            raise AddressRefused(f"address not allowed: {name} is not on the allow-list")
        if reason := refusal(address):
            if name != str(address):
                # What a name means in our own network is not for those to know who can only write the name.
                reason = _WITHIN.sub("another address", reason)
            raise AddressRefused(f"address not allowed: {name} ({reason})")
