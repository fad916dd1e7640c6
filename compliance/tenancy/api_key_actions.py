"""Writes on API keys. Only people make and revoke them: a key that leaked must not make others."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone

from compliance.tenancy.api_keys import hash_of, new_token
from compliance.tenancy.errors import Refused
from compliance.tenancy.models import OF_ORGANIZATION, ApiKey, Organization, Scope, User
from compliance.tenancy.names import required_name
from compliance.tenancy.roles import lock_organization, managing_membership
from compliance.tenancy.scope import organization_scope


def create_key(
    *, organization: Organization, name: str, scopes: Collection[str], by: User, expires: datetime | None = None
) -> tuple[ApiKey, str]:
    """Make a key for the organization's API. Returns it with its token, which cannot be had again.

    scopes: values of Scope, without RUNNER. expires: at most API_KEY_MAX_DAYS from now; None: in
    API_KEY_DEFAULT_DAYS. Raises NotAllowed for all but owners and admins, and Refused.
    """
    if not scopes or not set(scopes) <= set(OF_ORGANIZATION):
        raise Refused("Choose what the key may do.")
    in_order = [str(scope) for scope in OF_ORGANIZATION if scope in scopes]
    with organization_scope(organization.id):
        managing_membership(organization.id, by)
        return _create("ask", organization, name, in_order, expires, by)


def make_runner_key(
    *, organization: Organization, runner_id: UUID, name: str, by: User, expires: datetime | None = None
) -> tuple[ApiKey, str]:
    """Make the key by which one private runner works. Returns it with its token, which cannot be had again.

    The runner's other keys stop working at once. Otherwise as create_key.
    """
    with organization_scope(organization.id):
        lock_organization(organization.id)  # of two who replace a runner's key at once, the second's is what works
        managing_membership(organization.id, by)
        _revoke(ApiKey.objects.of_runner(organization.id, runner_id), by)
        return _create("asr", organization, name, [Scope.RUNNER.value], expires, by, runner_id)


def revoke_key(*, organization: Organization, key_id: UUID | str, by: User) -> ApiKey:
    """End a key at once, whoever's; one that has ended stays as it is.

    Owners and admins may. Raises NotAllowed, or ApiKey.DoesNotExist for an unknown one.
    """
    with organization_scope(organization.id):
        managing_membership(organization.id, by)
        _revoke(ApiKey.objects.filter(organization=organization, pk=key_id), by)
        return ApiKey.objects.get(organization=organization, pk=key_id)


def revoke_runner_keys(*, organization: Organization, runner_id: UUID, by: User) -> int:
    """End every key of a runner at once; returns how many worked until now."""
    with organization_scope(organization.id):
        managing_membership(organization.id, by)
        return _revoke(ApiKey.objects.of_runner(organization.id, runner_id), by)


def _revoke(keys: QuerySet[ApiKey], by: User) -> int:
    return keys.filter(revoked_at=None).update(revoked_at=timezone.now(), revoked_by=by.get_full_name())


def _create(
    kind: str,
    organization: Organization,
    name: str,
    scopes: list[str],
    expires: datetime | None,
    by: User,
    runner_id: UUID | None = None,
) -> tuple[ApiKey, str]:
    now = timezone.now()
    expires = expires or now + timedelta(days=settings.API_KEY_DEFAULT_DAYS)
    if not now < expires <= now + timedelta(days=settings.API_KEY_MAX_DAYS):
        raise Refused(f"The key must expire within {settings.API_KEY_MAX_DAYS} days.")
    name = required_name(name, "key")
    token, prefix = new_token(kind)
    key = ApiKey(
        organization=organization,
        name=name,
        prefix=prefix,
        secret_hash=hash_of(token),
        scopes=scopes,
        runner_id=runner_id,
        created_at=now,
        created_by=by.get_full_name(),
        expires_at=expires,
    )
    key.save(force_insert=True)
    return key, token
