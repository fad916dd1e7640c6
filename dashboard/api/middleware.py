"""Sees to it that everything under /api/ is answered as the API answers, whoever along the way refused it."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

from django.http import HttpRequest, HttpResponse

from dashboard.api import problems

PREFIX = "/api/"


class ApiMiddleware:
    """Turns other middlewares' pages into problems, answers HEAD as GET, and tells how the limit stands."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not request.path_info.startswith(PREFIX):
            return self.get_response(request)
        head_only = request.method == "HEAD"
        if head_only:
            request.method = "GET"
        response = self.get_response(request)
        if response.status_code >= HTTPStatus.BAD_REQUEST and response["Content-Type"] != problems.MEDIA_TYPE:
            response = _as_problem(response)
        for name, value in getattr(request, "rate_headers", {}).items():
            response.setdefault(name, value)
        if head_only:
            response["Content-Length"] = str(len(response.content))
            response.content = b""
        return response


def _as_problem(page: HttpResponse) -> HttpResponse:
    response = problems.of_status(page.status_code).response()
    for name in ("Allow", "Retry-After", "WWW-Authenticate"):
        if name in page:
            response[name] = page[name]
    return response
