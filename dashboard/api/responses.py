"""What an operation answers with: JSON, and for what is read again and again an ETag."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from django.http import HttpRequest, HttpResponse
from django.utils.http import parse_etags
from ninja import Schema


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer whose status or headers are not the usual ones.

    cacheable: whether a client may keep it, and ask whether it still holds.
    """

    body: Schema
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cacheable: bool = False
    media_type: str = "application/json"


def _has_already(request: HttpRequest, etag: str) -> bool:
    """Whether the client says that it has this one."""
    named = [each.removeprefix("W/") for each in parse_etags(request.headers.get("If-None-Match", ""))]
    return "*" in named or f'"{etag}"' in named


def answer_of(request: HttpRequest, answer: Answer) -> HttpResponse:
    """The response. What may be kept is private and asked for anew each time; 304 when the client has it."""
    content = answer.body.model_dump_json().encode()
    response = HttpResponse(content, status=answer.status, content_type=answer.media_type, headers=answer.headers)
    if not answer.cacheable:
        response["Cache-Control"] = "no-store"
        return response
    etag = hashlib.sha256(content).hexdigest()[:32]
    if _has_already(request, etag):
        response = HttpResponse(status=304, headers=answer.headers)
        del response["Content-Type"]
    response["ETag"] = f'"{etag}"'
    response["Cache-Control"] = "private, no-cache"
    response["Vary"] = "Authorization"
    return response
