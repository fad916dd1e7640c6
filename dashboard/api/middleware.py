"""What every answer under /api/ has in common, whichever part of the stack gave it."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

from django.http import HttpRequest, HttpResponse
from django.middleware.http import ConditionalGetMiddleware
from django.utils.cache import patch_cache_control, patch_vary_headers

from dashboard.api import problems

PREFIX = "/api/"


class ApiMiddleware:
    """Turns error pages into problems, and adds the headers of caching, limits and content security.

    What a GET returns may be kept by its caller and has an ETag; everything else is kept by nobody. HEAD is GET
    without a body.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response
        self._conditional_get = ConditionalGetMiddleware(self._answer)

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not request.path_info.startswith(PREFIX):
            return self.get_response(request)
        is_head = request.method == "HEAD"
        if is_head:
            request.method = "GET"
        response: HttpResponse = self._conditional_get(request)  # type: ignore[assignment]
        response["Content-Security-Policy"] = "default-src 'none'; frame-ancestors 'none'"
        for name, value in getattr(request, "rate_headers", {}).items():
            response.setdefault(name, value)
        if is_head:
            response["Content-Length"] = str(len(response.content))
            response.content = b""
        return response

    def _answer(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if response.status_code >= HTTPStatus.BAD_REQUEST and response["Content-Type"] != problems.MEDIA_TYPE:
            response = _as_problem(response)
        if request.method == "GET" and response.status_code == HTTPStatus.OK:
            patch_cache_control(response, private=True, no_cache=True)
            patch_vary_headers(response, ["Authorization"])
        else:
            patch_cache_control(response, no_store=True)
        return response


def _as_problem(page: HttpResponse) -> HttpResponse:
    response = problems.of_status(page.status_code).response()
    for name in ("Allow", "Retry-After", "WWW-Authenticate"):
        if name in page:
            response[name] = page[name]
    return response
