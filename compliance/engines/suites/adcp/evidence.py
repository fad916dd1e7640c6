"""The exchange behind a step of the official runner, as evidence: redacted, capped, with the failing place."""

from __future__ import annotations

import json
from typing import Any

from compliance.engines.http.redaction import Redactor
from compliance.engines.reports.model import Evidence

_RESULT = "/response/body/result/structuredContent"  # where an MCP tool's result is in what was sent


def evidence_of(step: dict[str, Any], redactor: Redactor) -> Evidence | None:
    """What was exchanged in a step as driver.cjs tells it; None when nothing was."""
    asked, answered, wire = step.get("request"), step.get("response"), step.get("wire")
    if not asked and not wire:
        return None
    # A probe records its own exchange, which does not go through what listens to the others.
    if wire is None or (asked or {}).get("transport") == "http":
        return _from_records(step, asked or {}, answered, redactor)
    request = {
        "method": wire["method"],
        "url": redactor.url(wire["url"]),
        "headers": _headers(wire["headers"], redactor),
        "body": redactor.payload((wire["sent"] or "").encode()),
    }
    if wire["status"] is None:
        return Evidence(request, {"status": None, "fault": redactor.text(str(step.get("error") or "No answer came"))})
    response = {
        "status": wire["status"],
        "headers": _headers(wire["received"], redactor),
        "body": redactor.payload(message_of(wire["body"] or "").encode("utf-8", "replace")),
        "ms": wire["ms"],
    }
    return _pointed(step, request, response, _RESULT)


def message_of(text: str) -> str:
    """The last message of an event stream, which is the answer; other bodies as they are."""
    lines = [line[5:].strip() for line in text.splitlines() if line.startswith("data:")]
    return next((line for line in reversed(lines) if line), text) if "data:" in text[:4096] and lines else text


def _from_records(
    step: dict[str, Any], asked: dict[str, Any], answered: dict[str, Any] | None, redactor: Redactor
) -> Evidence:
    body = _clipped(asked.get("payload"), redactor)
    request = {
        "method": "GET" if body is None else "POST",
        "url": redactor.url(str(asked.get("url", ""))),
        "headers": {},
        "body": body,
    }
    if answered is None:
        return Evidence(request, None)
    response = {
        "status": answered.get("status"),
        "headers": _headers((answered.get("headers") or {}).items(), redactor),
        "body": _clipped(answered.get("payload"), redactor),
        "ms": answered.get("duration_ms"),
    }
    if not response["status"] and step.get("error"):
        response["fault"] = redactor.text(str(step["error"]))
    return _pointed(step, request, response, "/response/body")


def _headers(pairs: Any, redactor: Redactor) -> dict[str, str]:
    return redactor.headers(
        [(str(k).encode("latin-1", "replace"), str(v).encode("latin-1", "replace")) for k, v in pairs]
    )


def _clipped(value: dict[str, Any] | None, redactor: Redactor) -> Any:
    """A payload that the driver has cut at a generous size, if it had to."""
    if value is None:
        return None
    if "text" in value:
        return redactor.payload(value["text"].encode(), value["size"])
    return redactor.payload(json.dumps(value["json"]).encode())


def _pointed(step: dict[str, Any], request: Any, response: Any, base: str) -> Evidence:
    pointer = next((c["pointer"] for c in step["checks"] if not c["passed"] and c.get("pointer") is not None), None)
    if pointer is None:
        return Evidence(request, response)
    shown = {"request": request, "response": response}
    return Evidence(request, response, nearest(shown, base + pointer) if nearest(shown, base) == base else "")


def nearest(value: Any, pointer: str) -> str:
    """The pointer, or the deepest part of it that exists: what is missing fails where it should have been."""
    reached = ""
    for part in pointer.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict) and name in value:
            value = value[name]
        elif isinstance(value, list) and name.isascii() and name.isdigit() and int(name) < len(value):
            value = value[int(name)]
        else:
            break
        reached += f"/{part}"
    return reached
