"""The API's description for programs: what ninja derives from the operations, and what it leaves out."""

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
    "Location": {"description": "Where it is to be found.", "schema": {"type": "string"}},
    "Retry-After": {"description": "In how many seconds to try again.", "schema": {"type": "integer"}},
    "WWW-Authenticate": {"description": "How to show a key.", "schema": {"type": "string"}},
}
_COUNTED = ("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset")
_OF_STATUS = {"201": ("Location",), "401": ("WWW-Authenticate",), "429": ("Retry-After",), "503": ("Retry-After",)}


class DocumentedAPI(NinjaAPI):
    """A NinjaAPI whose document says what every operation has in common."""

    def get_openapi_schema(self, **how: Any) -> Any:
        document = super().get_openapi_schema(**how)
        problems: dict[str, Any] = {}
        for operations in document["paths"].values():
            for method, operation in operations.items():
                _complete(method, operation, problems)
        document["components"] |= {"headers": _HEADERS, "responses": dict(sorted(problems.items()))}
        return document


def _complete(method: str, operation: dict[str, Any], problems: dict[str, Any]) -> None:
    responses = {str(status): response for status, response in operation["responses"].items()}
    pages = any(parameter["name"] == "cursor" for parameter in operation["parameters"])
    for status, response in responses.items():
        if int(status) >= HTTPStatus.BAD_REQUEST:
            responses[status] = _shared(status, response, problems)
            continue
        names = (*_OF_STATUS.get(status, ()), *_COUNTED)
        if method == "get":
            names += ("ETag", "Link") if pages else ("ETag",)
        response["headers"] = _named(names)
    if method == "get":
        responses["304"] = {"description": "It is as If-None-Match has it.", "headers": _named((*_COUNTED, "ETag"))}
        header = {"in": "header", "name": "If-None-Match", "schema": {"type": "string"}, "required": False}
        operation["parameters"] = [*operation["parameters"], header]
    operation["responses"] = dict(sorted(responses.items()))


def _shared(status: str, response: dict[str, Any], problems: dict[str, Any]) -> dict[str, str]:
    """A problem is the same for every operation: said once, and referred to."""
    name = response["description"].title().replace(" ", "")
    names = _OF_STATUS.get(status, ()) if status == "401" else (*_OF_STATUS.get(status, ()), *_COUNTED)
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}}
    problems[name] = {"description": response["description"], "content": content, "headers": _named(names)}
    return {"$ref": f"#/components/responses/{name}"}


def _named(names: tuple[str, ...]) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}
