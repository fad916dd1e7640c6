"""Finding an A2A agent's card, and telling whether it is the card of the agent at that address."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx2

from compliance.engines.http.client import HttpClient
from compliance.engines.http.exchange import Exchange
from compliance.engines.http.jsonrpc import read_json

CARD_PATH = "/.well-known/agent-card.json"
OLD_CARD_PATH = "/.well-known/agent.json"  # until version 0.2


@dataclass(frozen=True, slots=True)
class CardSearch:
    """What came of looking for a card."""

    document: dict[str, Any] | None  # the card as JSON; None when there is none of this agent
    exchange: Exchange  # with the card, or the one that says most about why there is none
    path: str = ""  # where the card is
    flaw: str = ""  # what is wrong with a card that can be read all the same
    flaw_at: str = ""  # where, as a JSON pointer
    agent_of_other: str = ""  # the address that the card is of, when it is the card of another agent


async def find_card(http: HttpClient, url: str) -> CardSearch:
    """Look for the card of the agent at this address, at the likeliest places first."""
    seen: list[Exchange] = []
    anothers: CardSearch | None = None
    own_path = _path(url).rstrip("/")
    for address in card_addresses(url):
        exchange, stream = await http.open("GET", address, [(b"Accept", b"application/json")], b"", whole=False)
        seen.append(exchange)
        if stream is not None:
            # An MCP server may answer every GET with its stream, which has no end.
            await stream.aclose()
            continue
        if exchange.fault is not None and not exchange.status:
            break
        # What breaks a rule of JSON and can be read is read: the flaw is for a check to say.
        document, flaw, flaw_at, _ = read_json(bytes(exchange.body))
        if exchange.fault is not None or exchange.status != 200 or not _looks_like_card(document):
            continue
        path = _path(address)
        is_above = bool(own_path) and not path.startswith(own_path)
        named = interface_addresses(document)
        if not is_above or any(_is_same(url, each) for each in named):
            return CardSearch(document, exchange, path, flaw, flaw_at)
        anothers = anothers or CardSearch(None, exchange, path, agent_of_other=named[0] if named else "another address")
    return anothers or CardSearch(None, max(seen, key=_tells))


def card_addresses(url: str) -> list[str]:
    """Where an agent's card may be, likeliest first: below its own path, at the root, and under the older name."""
    base = httpx2.URL(url).copy_with(query=None, fragment=None, userinfo=b"")
    path = _path(base).rstrip("/")
    if path.endswith((CARD_PATH, OLD_CARD_PATH)):
        return [str(base)]
    paths = [f"{path}{CARD_PATH}"]
    if path:
        paths.append(CARD_PATH)
    paths.append(f"{path}{OLD_CARD_PATH}")
    if path:
        paths.append(OLD_CARD_PATH)
    return [str(base.copy_with(raw_path=place.encode("ascii"))) for place in paths]


def _path(url: httpx2.URL | str) -> str:
    """The path as it is sent: without its percent-encoding it may hold what no address may."""
    return httpx2.URL(url).raw_path.decode("ascii").partition("?")[0]


def interface_addresses(card: dict[str, Any]) -> list[str]:
    """The addresses of all interfaces that a card declares, in any of its versions."""
    entries = [card]
    for key in ("supportedInterfaces", "additionalInterfaces"):
        listed = card.get(key)
        entries += [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
    return [entry["url"] for entry in entries if isinstance(entry.get("url"), str) and entry["url"]]


def card_version(card: dict[str, Any]) -> str:
    """The version of the protocol that a card is written in, or that its first interface speaks."""
    interfaces = card.get("supportedInterfaces")
    first = interfaces[0] if isinstance(interfaces, list) and interfaces else None
    return str(card.get("protocolVersion") or (first.get("protocolVersion", "") if isinstance(first, dict) else ""))


def _is_same(url: str, other: str) -> bool:
    """Whether two addresses are the same place. Behind a proxy an agent may not know that it is reached by https."""
    try:
        a, b = httpx2.URL(url), httpx2.URL(other)
    except httpx2.InvalidURL:
        return False
    return (a.host, a.port, _path(a).rstrip("/"), a.query) == (b.host, b.port, _path(b).rstrip("/"), b.query)


def _looks_like_card(value: Any) -> bool:
    marks = {"skills", "supportedInterfaces", "url", "protocolVersion", "capabilities", "defaultInputModes"}
    return isinstance(value, dict) and len(marks & value.keys()) >= 2


def _tells(exchange: Exchange) -> int:
    """How much an answer says about an agent without a card."""
    if exchange.is_locked:
        return 3
    return 0 if exchange.status == 0 else 1 if exchange.status == 404 else 2
