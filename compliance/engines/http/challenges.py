"""What an answer says about the credentials that it wants (RFC 9110, section 11.6.1)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from compliance.engines.http.exchange import Exchange

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 -- a token of the grammar
_PART = re.compile(
    rf'(?P<name>{_TOKEN})\s*=\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>[^\s,"=]+))'
    rf"|(?P<scheme>{_TOKEN})(?:\s+[A-Za-z0-9._~+/-]+=*(?=\s*(?:,|$)))?"
)


@dataclass(frozen=True, slots=True)
class Challenge:
    scheme: str
    parameters: dict[str, str] = field(default_factory=dict)  # names in lower case


def challenges(exchange: Exchange) -> list[Challenge]:
    """Every challenge, on one line or on several, whatever the case and spacing of its parameters."""
    found: list[Challenge] = []
    for part in _PART.finditer(", ".join(exchange.lines("www-authenticate"))):
        if part["scheme"] is not None:
            found.append(Challenge(part["scheme"]))
        elif found:
            value = part["plain"] if part["quoted"] is None else re.sub(r"\\(.)", r"\1", part["quoted"])
            found[-1].parameters.setdefault(part["name"].lower(), value)
    return found


def named_metadata(exchange: Exchange) -> str:
    """Where a challenge says that the protected resource's metadata are; "" when none says so."""
    return next(
        (c.parameters["resource_metadata"] for c in challenges(exchange) if "resource_metadata" in c.parameters), ""
    )
