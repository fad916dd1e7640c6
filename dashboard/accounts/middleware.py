"""What every answer under /accounts/ has in common."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.utils.cache import patch_cache_control

PREFIX = "/accounts/"


class AccountsAreNotKept:
    """Nothing of an account, such as the secret of two-factor authentication, is kept by a browser or a proxy."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if request.path_info.startswith(PREFIX):
            patch_cache_control(response, private=True, no_store=True)
        return response
