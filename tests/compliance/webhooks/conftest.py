"""A source that signs what it sends."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from dataclasses import dataclass
from typing import Any

import pytest
from django.conf import settings
from django.http import HttpResponse
from django.test import Client

from compliance.models import Job, WebhookDelivery
from compliance.tenancy.scope import platform_scope
from dashboard.api import limits
from tests.conftest import AGENT_URL


def secret_of(letter: str) -> str:
    return "whsec_" + base64.b64encode(letter.encode() * 32).decode()


@dataclass
class Source:
    """Sends events as the specification says, without the library that verifies them."""

    name: str
    secret: str

    def sign(self, delivery_id: str, timestamp: int | str, body: bytes) -> str:
        key = base64.b64decode(self.secret.removeprefix("whsec_"))
        signed = f"{delivery_id}.{timestamp}.".encode() + body
        return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()

    def send(
        self,
        delivery_id: str = "msg_1",
        event: Any = None,
        *,
        body: bytes | None = None,
        age_seconds: int = 0,
        headers: dict[str, str] | None = None,
        **environ: Any,
    ) -> HttpResponse:
        if body is None:
            body = json.dumps(event or deployed()).encode()
        timestamp = int(time.time()) - age_seconds
        signed = {
            "webhook-id": delivery_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": self.sign(delivery_id, timestamp, body),
        }
        return Client().post(
            f"/api/v1/webhooks/{self.name}/",
            data=body,
            content_type=environ.pop("content_type", "application/json"),
            headers=signed | (headers or {}),
            **environ,
        )


def deployed(agent_url: str = AGENT_URL, kind: str = "agent.deployed") -> dict[str, Any]:
    return {"type": kind, "data": {"agent_url": agent_url}}


def deliveries() -> list[WebhookDelivery]:
    with platform_scope():
        return list(WebhookDelivery.objects.order_by("received_at", "id"))


def platform_jobs() -> list[Job]:
    with platform_scope():
        return list(Job.objects.filter(organization=None).order_by("created_at"))


@pytest.fixture
def registry(settings: Any) -> Source:
    settings.WEBHOOK_SECRETS = {"registry": (secret_of("r"),), "deploys": (secret_of("new"), secret_of("old"))}
    return Source("registry", secret_of("r"))


@pytest.fixture(autouse=True)
def empty_limits() -> None:
    """Each test begins with nothing counted, under whatever limits those before it had set."""
    limits.breaker.until = 0.0
    limits.limiter(settings.REDIS_URL).storage.reset()


@pytest.fixture(autouse=True)
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What would go to Celery."""
    messages: list[tuple[Any, ...]] = []
    monkeypatch.setattr("compliance.celery.app.send_task", lambda name, args: messages.append((name, tuple(args))))
    return messages
