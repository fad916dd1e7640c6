"""An agent card as the official SDK reads it, and what is wrong with it."""

from __future__ import annotations

import copy
import re
from typing import Any, NamedTuple

from a2a.client.card_resolver import parse_agent_card
from a2a.compat.v0_3 import types as old_types
from a2a.types import AgentCard
from a2a.utils.errors import InvalidParamsError
from a2a.utils.proto_utils import validate_proto_required_fields
from google.protobuf.json_format import ParseError
from pydantic import ValidationError

from compliance.engines.http.jsonrpc import pointer
from compliance.engines.suites.json_schemas import TooLarge, size


class ReadCard(NamedTuple):
    card: AgentCard | None  # None when it cannot be used at all
    problem: str = ""  # what is wrong with it, in words
    at: str = ""  # where in it, as a JSON pointer


def read_card(document: dict[str, Any], limit: int) -> ReadCard:
    """Read a card of any version of the protocol. limit: JSON values that a card may hold."""
    try:
        size(document, limit)
    except TooLarge:
        return ReadCard(None, f"The card holds more than {limit:,} values, or is nested too deeply, to be used")
    is_old = "supportedInterfaces" not in document
    if is_old:
        try:
            old_types.AgentCard.model_validate(document)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            at = pointer(first["loc"])
            return ReadCard(None, f"{at or '(root)'}: {first['msg']}", at)
    try:
        card = parse_agent_card(copy.deepcopy(document))
    except (ParseError, RecursionError, TypeError, AttributeError, ValueError) as error:
        said = str(error)[:2000]  # redacted before it is cut to what is shown: the cut may fall in a secret
        at = pointer(re.findall(r"Failed to parse (\w+) field", said))
        return ReadCard(None, f"The card cannot be read: {said}", at)
    if is_old:
        return ReadCard(card)
    try:
        validate_proto_required_fields(card)
    except InvalidParamsError as error:
        data = error.data if isinstance(error.data, dict) else {}
        missing = [f"/{str(e.get('field', '')).replace('.', '/')}" for e in data.get("errors", ())]
        if not missing:
            return ReadCard(card, "Required fields are missing")
        return ReadCard(card, f"Missing or empty: {', '.join(missing[:10])}", _place(missing[0]))
    return ReadCard(card)


def _place(field: str) -> str:
    """A field as the SDK names it (/skills[0]/input_modes) as a place in the card (/skills/0/inputModes)."""
    parts = re.sub(r"\[([^\]]*)\]", r"/\1", field)
    return re.sub(r"_([a-z])", lambda m: m[1].upper(), parts)
