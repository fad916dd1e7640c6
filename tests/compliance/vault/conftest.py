"""A vault with something in it: Alice's organization, its agent, and credentials of every kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest

from compliance.models import Agent, AgentContext, Credential, CredentialGrant, CredentialUse, Organization, User
from compliance.tenancy.actions import create_organization
from compliance.tenancy.ids import uuid7
from compliance.tenancy.scope import Actor, organization_scope, platform_scope
from compliance.vault.actions import add_credential, grant_credential
from compliance.vault.models import UseFor
from compliance.vault.use import Attempt
from tests.conftest import AGENT_URL, make_context, make_user

SECRET = "sk-live-4f9a-77c2-XYZW"
ALL_USES = tuple(UseFor.values)

PARAMETERS: dict[str, dict[str, str]] = {
    "bearer": {},
    "basic": {"username": "assay"},
    "api_key": {"header": "X-API-Key"},
    "oauth": {"token_url": "https://login.example/token", "client_id": "assay", "scope": "read"},
}


def make_credential(
    organization: Organization, by: User, *, name: str = "Test key", kind: str = "bearer", **changes: Any
) -> Credential:
    parameters = {**PARAMETERS[kind], **changes.pop("parameters", {})}
    return add_credential(
        organization=organization,
        name=name,
        kind=kind,
        parameters=parameters,
        secret=changes.pop("secret", SECRET),
        by=by,
    )


def make_grant(
    credential: Credential, context: AgentContext, by: User, *, uses: Any = ALL_USES, days: int = 30
) -> CredentialGrant:
    return grant_credential(
        organization=credential.organization,
        credential_id=credential.pk,
        uses=uses,
        context_ids=[context.pk],
        days=days,
        by=by,
    )


def attempt(organization: Organization, **changes: Any) -> Attempt:
    values: dict[str, Any] = {
        "organization_id": organization.id,
        "agent_url": AGENT_URL,
        "use": UseFor.OWNER_TESTS,
        "triggered_by": "owner_test",
        "by": Actor("user", "1", "Alice Owner"),
        "job_id": uuid4(),
        "run_id": uuid7(),
    }
    return Attempt(**(values | changes))


def uses_of(organization: Organization) -> list[CredentialUse]:
    """The record of uses, the oldest first."""
    with organization_scope(organization.id):
        return list(CredentialUse.objects.order_by("at", "id"))


@pytest.fixture
def credential(organization: Organization, alice: User) -> Credential:
    return make_credential(organization, alice)


@pytest.fixture
def grant(credential: Credential, context: AgentContext, alice: User) -> CredentialGrant:
    return make_grant(credential, context, alice)


@pytest.fixture(autouse=True)
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What would go to Celery."""
    messages: list[tuple[Any, ...]] = []
    monkeypatch.setattr("compliance.celery.app.send_task", lambda name, args: messages.append((name, tuple(args))))
    return messages


class World:
    """Committed rows: what other threads and processes must see."""

    def __init__(self, agent_url: str = AGENT_URL, *, verified: bool = True) -> None:
        self.alice = make_user("alice@example.org", "Alice Owner")
        self.organization = create_organization(name="Alpha", by=self.alice)
        self.context = make_context(self.organization, agent_url, verified=verified)
        self.agent_url = agent_url
        with platform_scope():
            Agent.objects.filter(pk=agent_url).update(protocol="mcp")

    def credential(self, **changes: Any) -> Credential:
        return make_credential(self.organization, self.alice, **changes)

    def grant(self, credential: Credential, **changes: Any) -> CredentialGrant:
        return make_grant(credential, self.context, self.alice, **changes)

    def attempt(self, **changes: Any) -> Attempt:
        return attempt(self.organization, **({"agent_url": self.agent_url} | changes))

    def uses(self) -> list[CredentialUse]:
        return uses_of(self.organization)


@pytest.fixture
def world(committed_db: None) -> Callable[..., World]:
    return World


@pytest.fixture
def stored_secret(superuser: Any) -> Callable[[UUID], dict[str, Any]]:
    """A credential's row as it lies on the disk."""

    def read(credential_id: UUID) -> dict[str, Any]:
        row = superuser.execute(
            "SELECT to_jsonb(s) FROM credential_secrets s WHERE credential_id = %s", [credential_id]
        ).fetchone()
        return row[0] if row else {}

    return read
