"""Who may call what: every operation of the API is made with `operation`."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, TypeVar, cast, get_args

from allauth.account.adapter import get_adapter
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.utils.functional import SimpleLazyObject
from ninja import Router, Schema
from ninja.params.models import Query as QueryParam
from ninja.security.base import AuthBase

from compliance.models import Organization
from compliance.runners.leasing import AtWork, KeyEnded, at_work
from compliance.tenancy.api_keys import BadKey, KeyActor, actor_of, known_keys
from compliance.tenancy.models import Scope
from compliance.tenancy.scope import organization_scope
from dashboard.api import limits as rates
from dashboard.api.problems import Problem, ProblemDetails, invalid, of_status
from dashboard.api.responses import Answer, answer_of

_View = TypeVar("_View", bound=Callable[..., Any])
_BEARER = re.compile(r"bearer +(\S+) *", re.IGNORECASE)
_WHY = {
    "unknown": "Send a valid API key or runner's token: “Authorization: Bearer …”.",
    "expired": "This key has expired. Make another one.",
    "revoked": "This key was revoked or replaced. Make another one.",
}


class ApiRequest(HttpRequest):
    """The request as `operation` hands it to a view."""

    auth: KeyActor
    organization: Organization
    at_work: AtWork  # of a private runner's call


class BearerKey(AuthBase):
    """What an operation asks of whoever calls it, before anything that was sent is read."""

    openapi_type = "http"
    openapi_scheme = "bearer"
    openapi_description = "An API key: `Authorization: Bearer ask_…`, or `asr_…` for a private runner."

    def __init__(self, *, scope: str, rate: rates.Rate, body_kb: int, takes_body: bool) -> None:
        super().__init__()
        self._scope, self._rate = scope, rate
        self._body_kb, self._takes_body = body_kb, takes_body

    def __call__(self, request: HttpRequest) -> KeyActor:
        key = _key_of(request, known_keys.actor_of if self._scope == Scope.RUNNER else actor_of)
        standing = rates.count(self._rate, str(key.key_id))
        if standing is not None:
            request.rate_headers = standing.headers  # type: ignore[attr-defined]  # ApiMiddleware sends them
            if not standing.allowed:
                raise too_many(standing)
        if self._scope not in key.scopes:
            raise Problem(403, "not-allowed", f"This API key does not have the scope “{self._scope}”.")
        self._refuse_body(request)
        return key

    def _refuse_body(self, request: HttpRequest) -> None:
        length = int(request.META.get("CONTENT_LENGTH") or 0)
        if length > self._body_kb * 1024:
            raise Problem(413, "too-large", f"The body may have at most {self._body_kb} KB.")
        if self._takes_body and length and request.content_type != "application/json":
            raise of_status(415)


def _token_of(request: HttpRequest) -> str | None:
    shown = _BEARER.fullmatch(request.headers.get("Authorization", ""))
    return shown[1] if shown else None


def _key_of(request: HttpRequest, find: Callable[[str], KeyActor]) -> KeyActor:
    shown = _token_of(request)
    try:
        return find(shown or "")
    except BadKey as bad:
        # Only those who fail are counted: neighbours with a good key behind the same address must not suffer.
        failures = rates.count(rates.FAILED_KEYS, address_of(request)) if shown else None
        if failures is not None and not failures.allowed:
            raise too_many(failures) from None
        raise _unauthorized(_WHY[bad.why], shown=shown is not None) from None


def _unauthorized(why: str, *, shown: bool = True) -> Problem:
    challenge = 'Bearer realm="Assay"' + (', error="invalid_token"' if shown else "")
    return Problem(401, "unauthorized", why, headers={"WWW-Authenticate": challenge})


def address_of(request: HttpRequest) -> str:
    """Where the call comes from, as logins are counted."""
    try:
        return get_adapter().get_client_ip(request)
    except (PermissionDenied, ImproperlyConfigured):
        return "unknown"  # as behind a socket file: who cannot be told apart is counted as one


def too_many(standing: rates.Count) -> Problem:
    """The answer to whoever has used up a limit."""
    return Problem(
        429,
        "too-many-requests",
        f"At most {standing.rate.per_minute} calls are answered in a minute. Wait as long as Retry-After says.",
        headers={**standing.headers, "Retry-After": str(max(1, standing.reset_seconds))},
    )


def _known_queries(signature: inspect.Signature) -> frozenset[str]:
    """The names that an operation takes in its query string, all of them fields of its Query[…] parameters."""
    names: set[str] = set()
    for parameter in signature.parameters.values():
        kind, *marks = get_args(parameter.annotation) or (None,)
        if any(isinstance(mark, QueryParam) for mark in marks):
            names |= kind.model_fields.keys()
    return frozenset(names)


def _known_later(organization_id: str) -> Organization:
    """The organization, which is only read if something of it is looked at."""

    def read() -> Organization:
        found = Organization.objects.raw("SELECT * FROM organizations WHERE id = %s", [organization_id])
        return next(iter(found))

    return cast(Organization, SimpleLazyObject(read))


def operation(
    router: Router,
    method: str,
    path: str,
    *,
    scope: Scope,
    operation_id: str,
    response: type[Schema] | dict[int, type[Schema]],
    problems: tuple[int, ...] = (),
    rate: rates.Rate = rates.ORGANIZATION,
    body_kb: int = settings.API_BODY_MAX_KB,
    opens_scope: bool = True,
    **more: Any,
) -> Callable[[_View], _View]:
    """Decorate a view, which becomes an operation of the router for keys that have the scope.

    The view is called as view(request, …) with an ApiRequest, inside the scope of the key's organization, or of its
    runner at work; it returns a Schema, or an Answer around one. Whatever it raises rolls back what was half done, and
    is answered as a problem; a Problem that it returns is answered likewise, and what was done stays.
    response: what comes with 200, or by status. problems: statuses beside those that every operation may answer
    (401, 403, 422, 429, 500, 503; with a body 400, 413, 415). rate: which limit counts it. body_kb: the most that a
    body may have; what is more than DATA_UPLOAD_MAX_MEMORY_SIZE is refused anyway. opens_scope: False for a view whose
    action opens scopes of its own, because it commits before it answers; it has no request.organization. more: as
    ninja's api_operation takes it.
    """
    answers: dict[int, Any] = response if isinstance(response, dict) else {200: response}
    takes_body = method in ("POST", "PUT", "PATCH")
    usual = (401, 403, 422, 429, 500, 503, *((400, 413, 415) if takes_body else ()))

    @contextmanager
    def opened(request: ApiRequest, kwargs: dict[str, Any]) -> Iterator[None]:
        if not opens_scope:
            yield
        elif scope == Scope.RUNNER:
            with at_work(request.auth, kwargs.get("job_id")) as request.at_work:
                yield
        else:
            # The actions look at the key again themselves.
            with organization_scope(request.auth.organization_id):
                request.organization = _known_later(request.auth.organization_id)
                yield

    def decorate(view: _View) -> _View:
        # Names of types are looked up where the view was written, not here.
        signature = inspect.signature(view, eval_str=True)
        known = _known_queries(signature)

        @wraps(view)
        def scoped(request: ApiRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            unknown = sorted(request.GET.keys() - known)
            if unknown:  # a filter that is misspelt must not show everything
                raise invalid("query", unknown[0][:100], "There is no such parameter here.")
            # The scope is left by an exception before anything is answered: what was half done is rolled back.
            try:
                with opened(request, kwargs):
                    answer = view(request, *args, **kwargs)
            except KeyEnded:
                known_keys.forget(_token_of(request) or "")
                raise _unauthorized(_WHY["revoked"]) from None
            if isinstance(answer, Problem):
                return answer.response()
            if not isinstance(answer, Answer):
                answer = Answer(cast(Schema, answer))
            assert isinstance(answer.body, answers[answer.status]), f"{operation_id} answered something else"
            return answer_of(request, answer)

        scoped.__signature__ = signature  # type: ignore[attr-defined]
        router.api_operation(
            [method],
            path,
            auth=BearerKey(scope=scope, rate=rate, body_kb=body_kb, takes_body=takes_body),
            response=answers | dict.fromkeys(sorted({*usual, *problems}), ProblemDetails),
            operation_id=operation_id,
            **more,
        )(scoped)
        return view

    return decorate
