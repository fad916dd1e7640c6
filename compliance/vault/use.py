"""Using a credential: decided under locks, written down and committed, and only then done (V2)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from compliance.database import call
from compliance.engines import Credential as Usable
from compliance.registry.models import AgentContext
from compliance.tenancy.scope import Actor, organization_scope
from compliance.vault.actions import keep_token
from compliance.vault.encryption import Unreadable, unseal
from compliance.vault.kinds import Kind, usable
from compliance.vault.models import (
    Credential,
    CredentialGrant,
    CredentialSecret,
    CredentialUse,
    SentTo,
    UseFor,
    UseResult,
    associated_data,
    expired,
)
from compliance.vault.oauth import Token, TokenFailed, fetch_token


class CredentialRefused(Exception):
    """The credential is not used. The message says why, for the members of its organization."""

    def __init__(self, credential_id: UUID, name: str, result: str, reason: str) -> None:
        super().__init__(reason)
        self.credential_id = credential_id
        self.name = name
        self.result = result
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Attempt:
    """Who wants to use a credential of which organization, on what, for which run."""

    organization_id: str
    agent_url: str
    use: str  # a value of UseFor
    triggered_by: str
    by: Actor
    job_id: UUID
    run_id: UUID
    credential_id: UUID | None = None  # None: whichever is granted for this agent and use, the oldest grant first
    executor_name: str = ""
    to_runner: bool = False  # the secret leaves Assay: the grant must say that it may
    # Asked first in every transaction that decides: locks whoever is to have the secret, or raises when they may not
    # have it any more.
    keep_trusted: Callable[[], object] | None = None


@dataclass(frozen=True, slots=True)
class _Decision:
    credential: Credential
    grant: CredentialGrant | None
    result: str
    reason: str
    secret: str = field(default="", repr=False)
    token: str = field(default="", repr=False)  # of OAuth: one that still holds

    @property
    def receiver(self) -> str:
        needs_token = self.credential.kind == Kind.OAUTH and not self.token
        return SentTo.TOKEN_ENDPOINT if needs_token else SentTo.AGENT


@sensitive_variables("decision", "fetched", "token")
def use_credential(attempt: Attempt) -> Usable | None:
    """What an engine is to send, once the use of it is committed to the record of uses.

    None when no credential was named and none is granted: then nothing was attempted. May take as long as a step
    of a test, for an access token. Raises CredentialRefused, which is on record too, DatabaseError when the use
    could not be written down and therefore does not happen, or what attempt.keep_trusted raises.
    """
    decision = _decide_on_record(attempt)
    if decision is None:
        return None
    credential, token = decision.credential, decision.token
    if decision.receiver == SentTo.TOKEN_ENDPOINT:
        fetched = _fetched(decision)
        # Decided anew: the grant may have been revoked while we waited, or the client's secret been replaced.
        _decide_on_record(attempt, bought_with=credential, fetched=fetched)
        assert isinstance(fetched, Token)
        token = fetched.value
        _keep(credential, fetched)
    return usable(
        credential.kind,
        credential.parameters,
        decision.secret,
        token=token,
        organization_id=attempt.organization_id,
        credential_id=str(credential.pk),
        name=credential.name,
    )


def _decide_on_record(
    attempt: Attempt, *, bought_with: Credential | None = None, fetched: Token | TokenFailed | None = None
) -> _Decision | None:
    # Durable: inside another transaction the record would be lost with it, and the use would have happened.
    with transaction.atomic(durable=True), organization_scope(attempt.organization_id):
        if attempt.keep_trusted is not None:
            attempt.keep_trusted()
        decision = _decide(attempt, bought_with.pk if bought_with else attempt.credential_id)
        if decision is None:
            return None
        reader = SentTo.RUNNER if attempt.to_runner else SentTo.AGENT
        receiver: str = reader if decision.receiver == SentTo.AGENT else decision.receiver
        if bought_with is not None:
            receiver = reader
            failure = str(fetched) if isinstance(fetched, TokenFailed) else ""
            if decision.credential.version != bought_with.version:
                failure = f"The secret of “{bought_with.name}” was replaced while its token was awaited. Try again."
            if failure and decision.result == UseResult.OK:
                decision = _Decision(decision.credential, decision.grant, UseResult.TOKEN_FAILED, failure)
        _write_down(attempt, decision, receiver)
    if decision.result != UseResult.OK:
        credential = decision.credential
        raise CredentialRefused(credential.pk, credential.name, decision.result, decision.reason)
    return decision


def _write_down(attempt: Attempt, decision: _Decision, receiver: str) -> None:
    CredentialUse.objects.create(
        organization_id=attempt.organization_id,
        at=timezone.now(),
        sent_to=receiver,
        result=decision.result,
        reason=decision.reason[:300],
        credential_id=decision.credential.pk,
        credential_name=decision.credential.name,
        credential_version=decision.credential.version,
        grant_id=decision.grant.pk if decision.grant else None,
        agent_url=attempt.agent_url,
        triggered_by=attempt.triggered_by,
        **attempt.by.as_fields(),
        executor_name=attempt.executor_name,
        job_id=attempt.job_id,
        run_id=attempt.run_id,
    )


def _decide(attempt: Attempt, credential_id: UUID | None) -> _Decision | None:
    """Which credential, by which grant, or why not. Holds both against a revocation until the transaction ends."""
    context = AgentContext.objects.filter(organization_id=attempt.organization_id, agent_id=attempt.agent_url).first()
    if credential_id is None:
        grant = _automatic(attempt, context)
        if grant is None:
            return None
        credential_id = grant.credential_id
    # Shared locks: any number of uses at once, but no revocation, deletion or replacement in the midst of one. Grants
    # before the credential, as delete_credential takes them. Django knows exclusive locks only.
    grants = _grants("credential_id = %s", [attempt.organization_id, credential_id], " FOR SHARE")
    locked = "SELECT * FROM credentials WHERE organization_id = %s AND id = %s FOR SHARE"
    credential = next(iter(Credential.objects.raw(locked, [attempt.organization_id, credential_id])), None)
    if credential is None:
        # A job may name one that never was: the record says that much.
        unknown = Credential(pk=credential_id, organization_id=attempt.organization_id, name="", version=0)
        return _Decision(unknown, None, UseResult.DELETED, "There is no such credential.")
    if credential.deleted_at is not None:
        return _Decision(credential, None, UseResult.DELETED, f"“{credential.name}” was deleted.")
    result, reason, best = _judged(attempt, context, credential, grants)
    if result != UseResult.OK:
        return _Decision(credential, best, result, reason)
    return _opened(credential, best)


def _automatic(attempt: Attempt, context: AgentContext | None) -> CredentialGrant | None:
    """The oldest grant that fits; for the sake of the record one that has expired, when there is no other."""
    if context is None:
        return None
    standing = _grants("revoked_at IS NULL AND %s = ANY (context_ids)", [attempt.organization_id, context.pk])
    named = [grant for grant in standing if _fits(grant, attempt)]
    now = timezone.now()
    return next((grant for grant in named if not expired(grant.expires_at, now)), named[-1] if named else None)


# 'infinity' is an instant to PostgreSQL and none to Python: read as no expiry at all, it counts as expired (V4).
_GRANTS = """
    SELECT id, organization_id, credential_id, for_owner_tests, for_monitors, for_heartbeats, for_private_runners,
        context_ids,
        CASE WHEN isfinite(expires_at) THEN expires_at END AS expires_at, created_at, created_by, revoked_at, revoked_by
    FROM credential_grants WHERE organization_id = %s AND {} ORDER BY created_at, id
"""


def _grants(where: str, parameters: list[Any], locked: str = "") -> list[CredentialGrant]:
    return list(CredentialGrant.objects.raw(_GRANTS.format(where) + locked, parameters))


def _fits(grant: CredentialGrant, attempt: Attempt) -> bool:
    return grant.is_for(attempt.use) and (not attempt.to_runner or grant.for_private_runners)


def _judged(
    attempt: Attempt, context: AgentContext | None, credential: Credential, grants: list[CredentialGrant]
) -> tuple[str, str, CredentialGrant | None]:
    """The result, its reason, and the grant that it rests on: the one that comes nearest to allowing the use."""
    if not grants:
        return UseResult.NO_GRANT, f"“{credential.name}” is not granted for anything.", None
    naming = [grant for grant in grants if context is not None and context.pk in grant.context_ids]
    if not naming:
        return UseResult.AGENT_OUT_OF_SCOPE, f"No grant of “{credential.name}” names this agent.", grants[-1]
    fitting = [grant for grant in naming if _fits(grant, attempt)]
    if not fitting and attempt.to_runner and any(grant.is_for(attempt.use) for grant in naming):
        reason = f"“{credential.name}” is not granted to be handed to private runners."
        return UseResult.USE_OUT_OF_SCOPE, reason, naming[-1]
    if not fitting:
        use = str(UseFor(attempt.use).label).lower()
        return UseResult.USE_OUT_OF_SCOPE, f"“{credential.name}” is not granted for {use} of this agent.", naming[-1]
    assert context is not None
    if attempt.use == UseFor.HEARTBEATS and not context.is_verified_owner:
        reason = "Heartbeats use the credential of a verified owner only, and your organization observes this agent."
        return UseResult.AGENT_OUT_OF_SCOPE, reason, fitting[-1]
    standing = [grant for grant in fitting if grant.revoked_at is None]
    if not standing:
        return UseResult.REVOKED, f"The grant of “{credential.name}” was revoked.", fitting[-1]
    now = timezone.now()
    live = [grant for grant in standing if not expired(grant.expires_at, now)]
    if not live:
        reason = f"The grant of “{credential.name}” has expired. Make another one if it may still be used."
        return UseResult.EXPIRED, reason, standing[-1]
    return UseResult.OK, "", live[0]


@sensitive_variables()
def _opened(credential: Credential, grant: CredentialGrant | None) -> _Decision:
    kept = CredentialSecret.objects.filter(credential=credential, version=credential.version).first()
    whose = (credential.pk, credential.organization_id, credential.version)
    try:
        if kept is None:
            raise Unreadable("it has no secret of this version")
        secret = unseal(kept.sealed, bound_to=associated_data(*whose, "secret"))
        token = ""
        if kept.sealed_token and not expired(kept.token_expires_at, timezone.now()):
            token = unseal(kept.sealed_token, bound_to=associated_data(*whose, "token"))
    except Unreadable as error:
        reason = f"“{credential.name}” could not be decrypted: {error}. Enter its secret anew, or ask Assay's operator."
        return _Decision(credential, grant, UseResult.UNREADABLE, reason)
    return _Decision(credential, grant, UseResult.OK, "", secret, token)


@sensitive_variables()
def _fetched(decision: _Decision) -> Token | TokenFailed:
    fetching = fetch_token(
        decision.credential.parameters,
        decision.secret,
        allow=settings.EGRESS_ALLOW,
        step_seconds=float(settings.STEP_TIMEOUT_SECONDS),
    )
    try:
        return asyncio.run(fetching)
    except TokenFailed as failure:
        return failure


@sensitive_variables()
def _keep(credential: Credential, token: Token) -> None:
    """Keep the token for the next runs, unless it lasts no longer than one."""
    seconds = (token.expires_in or 0) - settings.TOKEN_EXPIRY_MARGIN_SECONDS
    if seconds > 0:
        keep_token(
            credential_id=credential.pk,
            organization_id=credential.organization_id,
            version=credential.version,
            token=token.value,
            expires_at=timezone.now() + timedelta(seconds=seconds),
        )


def granted(*, organization_id: str, attempts: Sequence[tuple[str, str]], to_runner: bool = False) -> list[bool]:
    """For each agent and use: whether a grant that was not revoked names them, and private runners if they are to
    have the credential. Needs the organization's scope.
    """
    if not attempts:
        return []
    contexts = AgentContext.objects.by_address(organization_id, {agent_url for agent_url, _ in attempts})
    # Whether a grant has expired is asked when it is used.
    standing = CredentialGrant.objects.filter(organization_id=organization_id, revoked_at=None).defer("expires_at")
    grants = [grant for grant in standing if grant.for_private_runners or not to_runner]

    def names(grant: CredentialGrant, agent_url: str, use: str) -> bool:
        return agent_url in contexts and contexts[agent_url].pk in grant.context_ids and grant.is_for(use)

    return [any(names(grant, agent_url, use) for grant in grants) for agent_url, use in attempts]


def heartbeat_credentials(agent_urls: Collection[str]) -> dict[str, tuple[str, UUID]]:
    """For the agents that have one: whose credential a heartbeat may use, and which. Needs platform_scope (V5)."""
    if not agent_urls:
        return {}
    rows = call("heartbeat_credentials", list(agent_urls))
    return {agent_url: (organization_id, credential_id) for agent_url, organization_id, credential_id in rows}
