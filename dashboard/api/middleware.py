"""Sees to it that everything under /api/ is answered as the API answers, whoever along the way refused it."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from django.core.handlers.base import BaseHandler
from django.core.handlers.exception import convert_exception_to_response
from django.http import HttpRequest, HttpResponse
from django.middleware.common import CommonMiddleware

from dashboard.api import problems

PREFIX = "/api/"


class _ApiHandler(BaseHandler):
    """Resolves and calls a view, with no middleware of pages around it."""

    _get_response: Callable[[HttpRequest], HttpResponse]
    _view_middleware: tuple[()] = ()
    _template_response_middleware: tuple[()] = ()
    _exception_middleware: tuple[()] = ()


class ApiMiddleware:
    """Answers what is under /api/ without what comes after it in MIDDLEWARE.

    The API knows callers by their keys alone: a session, its cookie, messages and forms' tokens mean nothing there,
    and a tenth of a call's time went to them. Errors' pages are turned into problems, HEAD is answered as GET, and
    how the limit stands is told.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response
        view = convert_exception_to_response(_ApiHandler()._get_response)
        self._answer: Callable[..., Any] = convert_exception_to_response(CommonMiddleware(view))

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not request.path_info.startswith(PREFIX):
            return self.get_response(request)
        head_only = request.method == "HEAD"
        if head_only:
            request.method = "GET"
        response: HttpResponse = self._answer(request)
        if response.status_code >= HTTPStatus.BAD_REQUEST and response["Content-Type"] != problems.MEDIA_TYPE:
            response = _as_problem(response)
        response["Content-Security-Policy"] = "default-src 'none'; frame-ancestors 'none'"
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
