"""Inbound webhooks: signed events of registries and deploy systems, each of which may request a test of one agent."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from django.conf import settings
from django.http import HttpRequest
from ninja import Router, Schema, Status
from ninja.security.base import AuthBase
from pydantic import Field

from compliance.webhooks.actions import ACTED_ON, NothingToRun, take_delivery
from compliance.webhooks.models import KIND_LENGTH
from compliance.webhooks.signatures import NotSigned, UnknownSource, verified_id
from dashboard.api import limits
from dashboard.api.authentication import count_call, count_failure, refuse_large_body
from dashboard.api.problems import Problem, ProblemDetails, invalid, not_found, of_status, unavailable
from dashboard.api.schemas import Text


class EventIn(Schema):
    """What happened, and to which agent."""

    type: Annotated[Text, Field(min_length=1, max_length=KIND_LENGTH, examples=["agent.deployed"])]
    data: dict[str, Any] = Field({}, examples=[{"agent_url": "https://agent.example/mcp"}])


class DeliveryOut(Schema):
    """The outcome of a delivery."""

    delivery_id: str
    outcome: str = Field(
        validation_alias="public_outcome",
        description="`requested`, `under_way`, `cooldown`, `concurrency`, `unknown_agent` or `ignored`.",
        examples=["requested"],
    )
    job_id: UUID | None = Field(description="The job of the test, if there is one.")


class SignedBySource(AuthBase):
    """Requires the source's signature on the body, before anything of it is parsed."""

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
            raise not_found()  # first of all: any other problem would tell that the source exists
        refuse_large_body(request, settings.WEBHOOK_BODY_MAX_KB)
        try:
            delivery_id = verified_id(source, request.body, request.headers)
        except UnknownSource:
            raise not_found() from None
        except NotSigned as refused:
            count_failure(request)
            raise Problem(401, "unauthorized", str(refused)) from None
        count_call(request, limits.WEBHOOKS, source)
        if request.content_type != "application/json":
            raise of_status(415)
        return delivery_id


def _header(name: str, kind: str) -> dict[str, Any]:
    return {"in": "header", "name": name, "required": True, "schema": {"type": kind}}


router = Router(tags=["Webhooks"], auth=SignedBySource())


@router.post(
    "/{source}/",
    operation_id="deliverEvent",
    summary="Report a new or changed agent",
    description="For sources that the operator has set up. The same `webhook-id` again is answered the same.",
    response={202: DeliveryOut, 404: ProblemDetails},
    openapi_extra={"parameters": [_header("webhook-id", "string"), _header("webhook-timestamp", "integer")]},
)
def deliver(request: HttpRequest, source: str, data: EventIn) -> Status[DeliveryOut]:
    agent_url = data.data.get("agent_url")
    if data.type in ACTED_ON and not isinstance(agent_url, str):
        raise invalid("body", "data.agent_url", "The agent's URL is missing.")
    try:
        delivery, _ = take_delivery(
            source=source,
            delivery_id=request.auth,  # type: ignore[attr-defined]
            kind=data.type,
            agent_url=str(agent_url or ""),
        )
    except NothingToRun:
        raise unavailable() from None
    return Status(202, DeliveryOut.from_orm(delivery))
