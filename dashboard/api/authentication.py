"""Who calls: an API key of an organization or of a private runner, and the scope that a view runs in."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, cast, get_args, get_origin

from allauth.account.adapter import get_adapter
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject
from ninja.params.models import Query as QueryParam
from ninja.security import HttpBearer

from compliance.models import Organization
from compliance.tenancy.api_keys import BadKey, KeyActor, actor_of, known_keys
from compliance.tenancy.models import Scope
from compliance.tenancy.scope import organization_scope
from dashboard.api import limits
from dashboard.api.problems import Problem, invalid, too_many, unauthorized


class ApiRequest(HttpRequest):
    """The request as an operation's view gets it."""

    auth: KeyActor
    organization: Organization


class BearerKey(HttpBearer):
    """Requires an API key that has the scope; counts the call, and limits the size of its body."""

    openapi_description = "An API key: `Authorization: Bearer ask_…`, or `asr_…` for a private runner."

    def __init__(self, scope: Scope, *, body_kb: int = settings.API_BODY_MAX_KB) -> None:
        super().__init__()
        self._scope, self._body_kb = scope, body_kb
        self._rate = limits.RUNNERS if scope == Scope.RUNNER else limits.ORGANIZATION

    def authenticate(self, request: HttpRequest, token: str) -> KeyActor:
        try:
            key = (known_keys.actor_of if self._scope == Scope.RUNNER else actor_of)(token.strip())
        except BadKey as bad:
            # Only failures are counted by address: others behind the same address may have good keys.
            count_failure(request)
            raise unauthorized(bad.why) from None
        count_call(request, self._rate, str(key.key_id))
        if self._scope not in key.scopes:
            raise Problem(403, "not-allowed", f"This API key does not have the scope “{self._scope}”.")
        refuse_large_body(request, self._body_kb)
        return key


def count_call(request: HttpRequest, rate: limits.Rate, caller: str) -> None:
    """Count the call; raises a problem when the caller has used up the limit."""
    standing = limits.count(rate, caller)
    if standing is not None:
        request.rate_headers = standing.headers  # type: ignore[attr-defined]  # sent by ApiMiddleware
        if not standing.allowed:
            raise too_many(standing)


def count_failure(request: HttpRequest) -> None:
    """Count a call that failed to authenticate; raises a problem when its address has had too many of them."""
    standing = limits.count(limits.FAILED_KEYS, _client_address(request))
    if standing is not None and not standing.allowed:
        raise too_many(standing)


def _client_address(request: HttpRequest) -> str:
    """The caller's address, found as the login pages find it."""
    try:
        return get_adapter().get_client_ip(request)
    except (PermissionDenied, ImproperlyConfigured):
        return "unknown"  # as behind a Unix socket: those callers share one limit


def refuse_large_body(request: HttpRequest, most_kb: int) -> None:
    if int(request.META.get("CONTENT_LENGTH") or 0) > most_kb * 1024:
        raise Problem(413, "too-large", f"The body may have at most {most_kb} KB.")


def in_organization(view: Callable[..., Any]) -> Callable[..., Any]:
    """A router's decorator: the view runs, and builds its answer, inside the scope of its key's organization.

    What the view raises is turned into a problem outside of the scope, and so rolls back what was half done. A view
    that must keep what it did returns the problem's response instead.
    """

    @refuse_odd_parameters
    @wraps(view)
    def scoped(request: ApiRequest, *args: Any, **kwargs: Any) -> Any:
        key = request.auth
        # The actions check the key again.
        with organization_scope(key.organization_id):
            # Read when a view uses it: many need only its id.
            organization = SimpleLazyObject(lambda: Organization.objects.get(pk=key.organization_id))
            request.organization = cast(Organization, organization)
            return view(request, *args, **kwargs)

    return scoped


def refuse_odd_parameters(view: Callable[..., Any]) -> Callable[..., Any]:
    """The view refuses query parameters that it does not have: a misspelt filter must not show everything.

    And those that are given twice where one value counts: which of the two would be a guess.
    """
    known: dict[str, bool] = {}  # whether it may be given again
    for parameter in inspect.signature(view, eval_str=True).parameters.values():
        schema, *marks = get_args(parameter.annotation) or (None,)
        if any(isinstance(mark, QueryParam) for mark in marks):
            known |= {name: get_origin(field.annotation) is list for name, field in schema.model_fields.items()}

    @wraps(view)
    def checked(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        unknown = sorted(request.GET.keys() - known.keys())
        if unknown:
            raise invalid("query", unknown[0][:100], "There is no such parameter here.")
        for name, values in request.GET.lists():
            if len(values) > 1 and not known[name]:
                raise invalid("query", name, "Give this parameter once.")
        return view(request, *args, **kwargs)

    return checked
