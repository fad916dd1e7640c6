"""The OpenAPI document: what ninja derives from the operations, and what all of them have in common."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from ninja import NinjaAPI

from dashboard.api.problems import MEDIA_TYPE

_HEADERS: dict[str, Any] = {
    "RateLimit-Limit": {"description": "How many calls are answered in a minute.", "schema": {"type": "integer"}},
    "RateLimit-Remaining": {"description": "How many are left.", "schema": {"type": "integer"}},
    "RateLimit-Reset": {"description": "In how many seconds the oldest is forgotten.", "schema": {"type": "integer"}},
    "ETag": {"description": "Send it as If-None-Match to ask whether this still holds.", "schema": {"type": "string"}},
    "Link": {"description": 'The page that follows (`rel="next"`).', "schema": {"type": "string"}},
    "Location": {"description": "Its URL.", "schema": {"type": "string"}},
    "Retry-After": {"description": "In how many seconds to try again.", "schema": {"type": "integer"}},
    "WWW-Authenticate": {"description": "How to authenticate.", "schema": {"type": "string"}},
}
_COUNTED = ("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset")
_HEADERS_OF_STATUS = {201: ("Location",), 401: ("WWW-Authenticate",), 429: ("Retry-After",), 503: ("Retry-After",)}


class DocumentedAPI(NinjaAPI):
    """A NinjaAPI whose document has the problems and headers that all operations share."""

    def get_openapi_schema(self, **how: Any) -> Any:
        document = super().get_openapi_schema(**how)
        problems: dict[str, Any] = {}
        for operations in document["paths"].values():
            for method, operation in operations.items():
                _complete(method, operation, problems)
        document["components"] |= {"headers": _HEADERS, "responses": dict(sorted(problems.items()))}
        return document


def _complete(method: str, operation: dict[str, Any], problems: dict[str, Any]) -> None:
    """Add to an operation the headers of its answers and the problems that any operation may have."""
    responses = {int(status): response for status, response in operation["responses"].items()}
    pages = any(parameter["name"] == "cursor" for parameter in operation["parameters"])
    for status, response in responses.items():
        names = (*_HEADERS_OF_STATUS.get(status, ()), *_COUNTED)
        if method == "get":
            names += ("ETag", "Link") if pages else ("ETag",)
        response["headers"] = _references(names)
    if method == "get":
        responses[304] = {"description": "It is as If-None-Match has it.", "headers": _references((*_COUNTED, "ETag"))}
        header = {"in": "header", "name": "If-None-Match", "schema": {"type": "string"}, "required": False}
        operation["parameters"] = [*operation["parameters"], header]
    usual = {401, 422, 429, 500, 503}
    if {"BearerKey": []} in operation["security"]:
        usual.add(403)
    if method != "get":
        usual |= {400, 413, 415}
    for status in usual | {status for status in responses if status >= HTTPStatus.BAD_REQUEST}:
        responses[status] = _problem(HTTPStatus(status), problems)
    operation["responses"] = {str(status): responses[status] for status in sorted(responses)}


def _problem(status: HTTPStatus, problems: dict[str, Any]) -> dict[str, str]:
    """A reference to the status's response, which is the same for every operation."""
    name = status.phrase.title().replace(" ", "")
    names = _HEADERS_OF_STATUS.get(status, ())
    if status != HTTPStatus.UNAUTHORIZED:
        names = (*names, *_COUNTED)
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}}
    problems[name] = {"description": status.phrase, "content": content, "headers": _references(names)}
    return {"$ref": f"#/components/responses/{name}"}


def _references(names: tuple[str, ...]) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}
