"""The exchange behind a step as people read it: pretty-printed, the failing part marked, and as a curl command."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings
from django.utils import timezone

from compliance.engines.http.exchange import HIDDEN
from compliance.models import ComplianceRun, StepEvidence

# A client sets these itself; repeated by hand they would be wrong for another body or connection.
_LEFT_OUT = {"host", "content-length", "connection", "accept-encoding", "transfer-encoding", "user-agent"}
# The database keeps no order of keys: an exchange is read from its first line to its body.
_AS_SENT = ("method", "url", "status", "ms", "headers", "body")


@dataclass(frozen=True, slots=True)
class Line:
    text: str
    marked: bool = False


def exchange_of(kept: StepEvidence) -> dict[str, Any]:
    """What a page needs to show the evidence of one step."""
    # Free in form: a report's schema asks no more of evidence than that it is JSON.
    response = kept.response if isinstance(kept.response, dict) else {}
    took = response.get("ms")
    return {
        "request_lines": lines_of(kept.request, "/request", kept.pointer),
        "response_lines": lines_of(kept.response, "/response", kept.pointer),
        "pointer": kept.pointer,
        "status": response.get("status"),
        "took_ms": int(took) if isinstance(took, int | float) and 0 <= took < 2**31 else None,
        "curl": as_curl(kept.request),
    }


def lines_of(payload: Any, position: str = "", pointer: str = "") -> list[Line]:
    """A payload, pretty-printed; what the pointer names, with all that lies in it, is marked.

    position: the payload's own JSON pointer. A pointer that leads nowhere marks the deepest position on its way.
    """
    if payload is None:
        return []
    if isinstance(payload, str):
        return [Line(text, marked=bool(pointer) and pointer == position) for text in payload.splitlines()]
    if isinstance(payload, dict):
        payload = {key: payload[key] for key in sorted(payload, key=_position)}
    lines = list(_pretty(payload, position, 0, ""))
    target = _reached(payload, position, pointer)
    return [Line(text, target is not None and (at == target or at.startswith(target + "/"))) for text, at in lines]


def _position(key: str) -> int:
    return _AS_SENT.index(key) if key in _AS_SENT else len(_AS_SENT)


def _reached(payload: Any, position: str, pointer: str) -> str | None:
    """The deepest position of the payload on the pointer's way; None when it points elsewhere or at all of it."""
    if not pointer.startswith(position + "/"):
        return None
    at, value = position, payload
    for part in pointer[len(position) + 1 :].split("/"):
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict) and key in value:
            value = value[key]
        elif isinstance(value, list) and key.isdecimal() and int(key) < len(value):
            value = value[int(key)]
        else:
            break
        at = f"{at}/{part}"
    return at if at != position else None


def _pretty(value: Any, position: str, depth: int, name: str) -> Iterator[tuple[str, str]]:
    indent, label = "  " * depth, f"{name}: " if name else ""
    if isinstance(value, dict) and value:
        items = [(json.dumps(key, ensure_ascii=False), _escaped(key), item) for key, item in value.items()]
        opening, closing = "{", "}"
    elif isinstance(value, list) and value:
        items = [("", str(index), item) for index, item in enumerate(value)]
        opening, closing = "[", "]"
    else:
        yield f"{indent}{label}{json.dumps(value, ensure_ascii=False)}", position
        return
    yield f"{indent}{label}{opening}", position
    for number, (shown, key, item) in enumerate(items):
        lines = list(_pretty(item, f"{position}/{key}", depth + 1, shown))
        if number < len(items) - 1:
            lines[-1] = (lines[-1][0] + ",", lines[-1][1])
        yield from lines
    yield f"{indent}{closing}", position


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def as_curl(request: Any) -> str:
    """The request as a curl command, without the secret: a variable of the shell stands for it.

    Empty when there is no request, or when its body was cut and would be another one.
    """
    if not isinstance(request, dict) or not request.get("url"):
        return ""
    body = request.get("body")
    if isinstance(body, str) and "\n[cut: " in body:
        return ""
    parts = [f"curl -i -X {shlex.quote(str(request.get('method', 'GET')))} {shlex.quote(str(request['url']))}"]
    headers = request.get("headers")
    for key, value in headers.items() if isinstance(headers, dict) else ():
        if key.lower() in _LEFT_OUT:
            continue
        if HIDDEN in str(value):
            parts.append(f'-H "{_in_double_quotes(key)}: $SECRET"')
        else:
            parts.append(f"-H {shlex.quote(f'{key}: {value}')}")
    if body not in (None, ""):
        text = body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)
        parts.append(f"--data-raw {shlex.quote(text)}")
    return " \\\n  ".join(parts)


def _in_double_quotes(text: str) -> str:
    return "".join(character for character in text if character.isalnum() or character in "-_")


def as_sent(body: str) -> str:
    """A body that was kept as text: pretty-printed if it is whole JSON, else as it is."""
    try:
        return json.dumps(json.loads(body), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return body


def expires_at(run: ComplianceRun) -> datetime:
    """When the run's evidence is dropped: with its whole month, so many months later."""
    at = run.recorded_at.astimezone(timezone.get_default_timezone())
    months = at.year * 12 + at.month + settings.EVIDENCE_RETENTION_MONTHS
    return at.replace(year=months // 12, month=months % 12 + 1, day=1, hour=0, minute=0, second=0, microsecond=0)


def has_expired(run: ComplianceRun) -> bool:
    """Whether the run is so old that its evidence, if it had any, is gone."""
    return expires_at(run) <= timezone.now()
