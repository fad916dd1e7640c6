"""Errors of the API, each of them answered with problem details (RFC 9457)."""

from __future__ import annotations

import json
import logging
from http import HTTPStatus
from typing import Any

from django.core.exceptions import ObjectDoesNotExist, RequestDataTooBig, SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from ninja import NinjaAPI, Schema
from ninja.errors import AuthenticationError, HttpError, ValidationError
from pydantic import Field

from compliance.jobs.leases import LeaseLost
from compliance.registry.urls import InvalidAgentURL
from compliance.runners.leasing import KeyEnded, NotPrivate
from compliance.tenancy.api_keys import known_keys
from compliance.tenancy.errors import Invalid, NotAllowed, Refused
from dashboard.api import limits

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 5  # when something of ours is away


class Wrong(Schema):
    """One thing that is wrong with what was sent."""

    where: str = Field(description="`body`, `query`, `path` or `header`.", examples=["body"])
    field: str = Field(description="Which field; inner ones after a dot.", examples=["schedule.cron"])
    detail: str = Field(examples=["Field required"])


class ProblemDetails(Schema):
    """Why it was not done (RFC 9457)."""

    type: str = Field(description="Which kind of problem: stable, for programs.", examples=["/problems/not-found"])
    title: str = Field(examples=["Not found"])
    status: int = Field(examples=[404])
    detail: str = Field(description="What to do, for people.")
    errors: list[Wrong] | None = Field(None, description="With `/problems/invalid`: what is wrong where.")


class Problem(Exception):
    """Ends a call with this response. kind: the last part of its type, such as "lease-lost"."""

    def __init__(
        self, status: int, kind: str, detail: str, *, headers: dict[str, str] | None = None, **members: Any
    ) -> None:
        super().__init__(detail)
        self.status, self.kind, self.detail = int(status), kind, detail
        self.headers, self.members = headers or {}, members

    def response(self) -> HttpResponse:
        title = self.kind.replace("-", " ").capitalize()
        body = {"type": f"/problems/{self.kind}", "title": title, "status": self.status, "detail": self.detail}
        response = HttpResponse(
            json.dumps(body | self.members), status=self.status, content_type=MEDIA_TYPE, headers=self.headers
        )
        response["Cache-Control"] = "no-store"
        return response


def not_found() -> Problem:
    """The same for another organization's object, for one that does not exist, and for an unknown path (I5)."""
    return Problem(404, "not-found", "There is no such thing here, or it is another organization's.")


def invalid(where: str, field: str, detail: str) -> Problem:
    """One field is wrong in a way that its schema does not express."""
    return _invalid([{"where": where, "field": field, "detail": detail}])


def _invalid(errors: list[dict[str, str]]) -> Problem:
    return Problem(422, "invalid", "Some of what was sent is wrong; see `errors`.", errors=errors)


_KEY_ENDED = {
    "unknown": "Send a valid API key or runner's token: “Authorization: Bearer …”.",
    "expired": "This key has expired. Make another one.",
    "revoked": "This key was revoked or replaced. Make another one.",
}


def unauthorized(why: str = "") -> Problem:
    """No key was sent, or a bad one: "unknown", "expired" or "revoked"."""
    challenge = 'Bearer realm="Assay"' + (', error="invalid_token"' if why else "")
    return Problem(401, "unauthorized", _KEY_ENDED[why or "unknown"], headers={"WWW-Authenticate": challenge})


def too_many(standing: limits.Count) -> Problem:
    return Problem(
        429,
        "too-many-requests",
        f"At most {standing.rate.per_minute} calls are answered in a minute. Wait as long as Retry-After says.",
        headers={**standing.headers, "Retry-After": str(max(1, standing.reset_seconds))},
    )


def unavailable() -> Problem:
    headers = {"Retry-After": str(RETRY_AFTER_SECONDS)}
    return Problem(503, "unavailable", "Assay cannot answer just now. Try again in a moment.", headers=headers)


_OF_STATUS = {
    400: ("bad-request", "The request could not be understood."),
    403: ("not-allowed", "This is not allowed."),
    405: ("method-not-allowed", "This address does not take that method; see the header Allow."),
    413: ("too-large", "The body is too large."),
    415: ("unsupported-media-type", "Send the body as application/json."),
}

# It is not known whose result it was, so its job does not end with it.
_TOO_DEEP = (
    "The body is nested too deeply to be read, and too large to be looked into. If it has the result of a test, say"
    " with `fail` that there is none: else the job goes on until its lease runs out."
)


def of_status(status: int) -> Problem:
    """The problem when only the status is known."""
    if status == HTTPStatus.NOT_FOUND:
        return not_found()
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        return unavailable()
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Problem(status, "broken", "Something of ours broke. It is on record; try again later.")
    kind, detail = _OF_STATUS.get(status, _OF_STATUS[400])
    return Problem(status, kind, detail)


def _problem_of(request: HttpRequest, refusal: Exception) -> Problem:
    match refusal:
        case Problem():
            return refusal
        case KeyEnded():
            known_keys.forget(request.headers["Authorization"].partition(" ")[2].strip())
            return unauthorized("revoked")
        case ValidationError():
            return _invalid([_wrong(error) for error in refusal.errors])
        case InvalidAgentURL():
            return invalid("body", "agent_url", str(refusal))
        case Invalid():
            return invalid("body", refusal.field, str(refusal))
        case NotAllowed():
            return Problem(403, "not-allowed", str(refusal))
        case Refused():
            return Problem(409, "refused", str(refusal))
        case LeaseLost():
            return Problem(409, "lease-lost", str(refusal))
        case NotPrivate():
            return Problem(409, "not-private", "This job is for Assay's own workers.")
        case ObjectDoesNotExist() | Http404():
            return not_found()
        case RequestDataTooBig():
            return of_status(413)
        case SuspiciousOperation():
            return of_status(400)
        case AuthenticationError():
            return unauthorized()
        case HttpError() if isinstance(refusal.__cause__, Problem):
            return refusal.__cause__  # raised by the parser
        case HttpError() if isinstance(refusal.__cause__, RecursionError):
            return Problem(400, "bad-request", _TOO_DEEP)
        case HttpError() if isinstance(refusal.__cause__, ValueError):
            return Problem(400, "bad-request", _why_no_json(refusal.__cause__))
        case HttpError():
            return of_status(refusal.status_code)
        case OperationalError() | InterfaceError():
            logger.warning("the database does not answer: %s", type(refusal).__name__)
            return unavailable()
    logger.error("an operation of the API broke", exc_info=refusal)
    return of_status(500)


def _why_no_json(error: ValueError) -> str:
    """Where a body stops being valid JSON, without quoting it."""
    match error:
        case json.JSONDecodeError():
            return f"The body is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        case UnicodeDecodeError():
            return f"The body is not valid JSON: it is no text in UTF-8, from its byte {error.start + 1} on."
        case _:
            return "The body is not valid JSON, or holds a number that is too long to be read."


def _wrong(error: dict[str, Any]) -> dict[str, str]:
    # The location begins with the source, and often with the name of the view's own parameter, which nobody sent.
    where, *inner = (str(part) for part in error["loc"])
    if where == "body" or (where == "query" and len(inner) > 1):
        inner = inner[1:]
    return {"where": where, "field": ".".join(inner), "detail": str(error["msg"])}


def add_exception_handlers(api: NinjaAPI) -> None:
    """Whatever an operation raises becomes a problem."""

    def handle(request: HttpRequest, refusal: Any) -> HttpResponse:
        return _problem_of(request, refusal).response()

    for kind in (Exception, Http404, HttpError, ValidationError):
        api.add_exception_handler(kind, handle)
