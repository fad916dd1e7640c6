"""JSON-RPC as it came over the HTTP client, and the words for what is wrong with it."""

from __future__ import annotations

import json
from typing import Any

from compliance.engines.http.exchange import Exchange

_POINTER_LENGTH = 2000  # characters: keys are the agent's, and may be of any length


def message_of(exchange: Exchange) -> tuple[dict[str, Any] | None, str]:
    """The JSON-RPC answer in an exchange, or None and why there is none."""
    if exchange.fault is not None:
        return None, exchange.fault.message
    raw = bytes(exchange.body)
    if exchange.media_type == "text/event-stream":
        return _message_in_events(raw)
    if not raw.strip():
        return None, f"status {exchange.status} with an empty body"
    if exchange.media_type not in ("application/json", "application/a2a+json"):
        found, _ = parse(raw)
        kind = exchange.media_type or "missing"
        if not _is_answer(found) or exchange.status < 400:
            return None, f"status {exchange.status}, and the content type is {kind} instead of application/json"
    value, problem = parse(raw)
    if problem:
        return None, f"status {exchange.status} with a body that is {problem}"
    if not _is_answer(value):
        return None, f"status {exchange.status} with JSON that is not a JSON-RPC 2.0 answer"
    return value, ""


def parse(raw: bytes) -> tuple[Any, str]:
    """JSON, or None and what it is instead."""
    try:
        return json.loads(raw.decode("utf-8")), ""
    except UnicodeDecodeError:
        return None, "not valid UTF-8"
    except RecursionError:
        return None, "nested too deeply"
    except ValueError:
        return None, "not valid JSON"


def _message_in_events(raw: bytes) -> tuple[dict[str, Any] | None, str]:
    problem = "an event stream that ended without an answer"
    for block in raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n\n"):
        lines = [line[5:].removeprefix(b" ") for line in block.split(b"\n") if line.startswith(b"data:")]
        if not lines or not any(lines):
            continue
        value, wrong = parse(b"\n".join(lines))
        if wrong:
            problem = f"an event that is {wrong}"
        elif _is_answer(value):
            return value, ""
    return None, problem


def _is_answer(value: Any) -> bool:
    return isinstance(value, dict) and value.get("jsonrpc") == "2.0" and ("result" in value or "error" in value)


def error_of(message: dict[str, Any] | None) -> tuple[Any, str]:
    """Code and text of a JSON-RPC error; (None, "") when the message is no error."""
    error = message.get("error") if message else None
    if not isinstance(error, dict):
        return None, ""
    return error.get("code"), str(error.get("message", ""))


def method_of(exchange: Exchange) -> str:
    value, _ = parse(exchange.request_body)
    return str(value.get("method", "")) if isinstance(value, dict) else ""


def pointer(path: Any) -> str:
    """A place in a JSON document as a JSON pointer (RFC 6901)."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def reached(document: Any, place: str) -> str:
    """The deepest place on a JSON pointer's way that the document has; "" when not even its first part is there.

    What would make the pointer longer than a report may hold is left out of it.
    """
    at, value = "", document
    for part in place.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict) and key in value:
            value = value[key]
        elif isinstance(value, list) and key.isdecimal() and int(key) < len(value):
            value = value[int(key)]
        else:
            break
        if len(at) + 1 + len(part) > _POINTER_LENGTH:
            break
        at = f"{at}/{part}"
    return at


def wrong_at(exchange: Exchange) -> str:
    """Where to look when an exchange holds no JSON-RPC answer: a JSON pointer into its evidence."""
    if exchange.fault is not None:
        return "/response/fault"
    if exchange.status >= 400 or not exchange.body.strip():
        return "/response/status"
    if exchange.media_type not in ("application/json", "application/a2a+json", "text/event-stream"):
        return "/response/headers/content-type"
    return "/response/body"
