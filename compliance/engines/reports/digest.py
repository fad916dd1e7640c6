"""A short name for what an agent says about itself: two runs that show the same name met the same agent."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

_LENGTH = 12  # hexadecimal digits shown; enough to tell apart what one agent ever said


def digest_of_listings(listings: Mapping[str, list[Any]]) -> str:
    """Of what an MCP server lists, by kind; "" when it is nested too deeply. The order of a listing does not count."""
    try:
        return _digest({kind: sorted(map(_canonical, items)) for kind, items in listings.items()})
    except RecursionError:
        return ""


def digest_of_card(card: Mapping[str, Any]) -> str:
    """Of an agent card without its signatures, which may be made anew for each reader; "" when nested too deeply."""
    try:
        return _digest({key: value for key, value in card.items() if key != "signatures"})
    except RecursionError:
        return ""


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _digest(value: Any) -> str:
    return hashlib.sha256(_canonical(value).encode()).hexdigest()[:_LENGTH]
