"""Signed events of registries and deploy systems: each may request the platform's test of one agent."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from ninja import Router, Schema
from ninja.security.base import AuthBase
from pydantic import Field

from compliance.webhooks.actions import ACTED_ON, NothingToRun, take_delivery
from compliance.webhooks.models import KIND_LENGTH
from compliance.webhooks.signatures import NotSigned, UnknownSource, verified_id
from dashboard.api import limits as rates
from dashboard.api.access import address_of, too_many
from dashboard.api.problems import Problem, ProblemDetails, invalid, not_found, of_status, unavailable
from dashboard.api.responses import Answer, answer_of

router = Router(tags=["Webhooks"])


class EventIn(Schema):
    """What happened, and to which agent."""

    type: str = Field(min_length=1, max_length=KIND_LENGTH, examples=["agent.deployed"])
    data: dict[str, Any] = Field({}, examples=[{"agent_url": "https://agent.example/mcp"}])


class DeliveryOut(Schema):
    """What came of a delivery."""

    delivery_id: str
    outcome: str = Field(
        description="`requested`, `under_way`, `cooldown`, `unknown_agent` or `ignored`.", examples=["requested"]
    )
    job_id: UUID | None = Field(description="The request of the test, if there is one.")


class SignedBySource(AuthBase):
    """Asks for the source's signature on the body, before anything of it is parsed."""

    openapi_type = "apiKey"
    openapi_in = "header"
    openapi_name = "webhook-signature"
    openapi_description = (
        "Standard Webhooks: `v1,` and the HMAC-SHA256 of `webhook-id.webhook-timestamp.body` in base64, with the "
        "headers `webhook-id` and `webhook-timestamp`."
    )

    def __call__(self, request: HttpRequest) -> str:
        assert request.resolver_match is not None
        source = str(request.resolver_match.kwargs["source"])
        if source not in settings.WEBHOOK_SECRETS:
            raise not_found()  # first of all: what else was wrong would tell that there is such a source
        if int(request.META.get("CONTENT_LENGTH") or 0) > settings.WEBHOOK_BODY_MAX_KB * 1024:
            raise Problem(413, "too-large", f"The body may have at most {settings.WEBHOOK_BODY_MAX_KB} KB.")
        try:
            delivery_id = verified_id(source, request.body, request.headers)
        except UnknownSource:
            raise not_found() from None
        except NotSigned as refused:
            # As with keys, only those who fail are counted by their address.
            failures = rates.count(rates.FAILED_KEYS, address_of(request))
            if failures is not None and not failures.allowed:
                raise too_many(failures) from None
            raise Problem(401, "unauthorized", str(refused)) from None
        standing = rates.count(rates.WEBHOOKS, source)
        if standing is not None:
            request.rate_headers = standing.headers  # type: ignore[attr-defined]  # ApiMiddleware sends them
            if not standing.allowed:
                raise too_many(standing)
        if request.content_type != "application/json":
            raise of_status(415)
        return delivery_id


def _header(name: str, kind: str) -> dict[str, Any]:
    return {"in": "header", "name": name, "required": True, "schema": {"type": kind}}


@router.post(
    "/{source}/",
    auth=SignedBySource(),
    response={202: DeliveryOut} | dict.fromkeys((400, 401, 404, 413, 415, 422, 429, 500, 503), ProblemDetails),
    operation_id="deliverEvent",
    summary="Tell of a new or changed agent",
    description="For sources that the operator has set up. The same `webhook-id` again is answered the same.",
    openapi_extra={"parameters": [_header("webhook-id", "string"), _header("webhook-timestamp", "integer")]},
)
def deliver(request: HttpRequest, source: str, data: EventIn) -> HttpResponse:
    agent_url = data.data.get("agent_url")
    if data.type in ACTED_ON and not isinstance(agent_url, str):
        raise invalid("body", "data.agent_url", "The agent's address is missing.")
    try:
        delivery, _ = take_delivery(
            source=source,
            delivery_id=request.auth,  # type: ignore[attr-defined]
            kind=data.type,
            agent_url=str(agent_url or ""),
        )
    except NothingToRun:
        raise unavailable() from None
    body = DeliveryOut(delivery_id=delivery.delivery_id, outcome=delivery.public_outcome, job_id=delivery.job_id)
    return answer_of(request, Answer(body, status=202))
