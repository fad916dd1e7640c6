"""Writes of the vault: keeping credentials, granting them, and using one with the use written down first."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from compliance.registry.models import AgentContext
from compliance.tenancy.errors import Refused
from compliance.tenancy.models import Organization, User
from compliance.tenancy.names import required_name, save_named
from compliance.tenancy.roles import managing_membership
from compliance.tenancy.scope import organization_scope
from compliance.vault.encryption import Unreadable, seal
from compliance.vault.kinds import checked, hint_of
from compliance.vault.models import Credential, CredentialGrant, CredentialSecret, UseFor, associated_data


@sensitive_variables("secret")
def add_credential(
    *, organization: Organization, name: str, kind: str, parameters: Mapping[str, str], secret: str, by: User
) -> Credential:
    """Keep a new credential. Nothing may use it until it is granted.

    Raises NotAllowed, or Refused for what cannot be such a credential, or a name that is taken.
    """
    with organization_scope(organization.id):
        managing_membership(organization.id, by)
        parameters, secret = checked(kind, parameters, secret)
        credential = Credential(
            organization=organization,
            name=required_name(name, "credential"),
            kind=kind,
            parameters=parameters,
            hint=hint_of(kind, secret),
            created_by=by.get_full_name(),
        )
        save_named(credential, force_insert=True)
        CredentialSecret.objects.create(
            credential=credential,
            organization_id=organization.id,
            version=credential.version,
            sealed=_sealed(credential, secret),
        )
        return credential


@sensitive_variables("secret")
def replace_secret(
    *,
    organization: Organization,
    credential_id: UUID | str,
    parameters: Mapping[str, str],
    secret: str,
    by: User,
) -> Credential:
    """Put another secret, and what goes with it, in the place of the old one, which is gone. Grants stay."""
    with organization_scope(organization.id):
        managing_membership(organization.id, by)
        credential = _locked(organization, credential_id)
        credential.parameters, secret = checked(credential.kind, parameters, secret)
        credential.hint = hint_of(credential.kind, secret)
        credential.version += 1
        credential.replaced_at = timezone.now()
        credential.save(update_fields=["parameters", "hint", "version", "replaced_at"])
        CredentialSecret.objects.filter(credential=credential).update(
            version=credential.version, sealed=_sealed(credential, secret), sealed_token="", token_expires_at=None
        )
        return credential


def rename_credential(*, organization: Organization, credential_id: UUID | str, name: str, by: User) -> Credential:
    """Change what the organization calls it. Past runs and uses keep the name that it had."""
    with organization_scope(organization.id):
        managing_membership(organization.id, by)
        credential = _locked(organization, credential_id)
        credential.name = required_name(name, "credential")
        save_named(credential, update_fields=["name"])
        return credential


def delete_credential(*, organization: Organization, credential_id: UUID | str, by: User) -> None:
    """Destroy the secret and revoke its grants. Its name and the record of its uses stay."""
    with organization_scope(organization.id):
        managing_membership(organization.id, by)
        # Grants first, then the credential: the order in which a use locks them.
        _revoke_all(credential_id, by)
        credential = _locked(organization, credential_id)
        credential.deleted_at, credential.deleted_by = timezone.now(), by.get_full_name()
        credential.hint = ""
        credential.save(update_fields=["deleted_at", "deleted_by", "hint"])
        CredentialSecret.objects.filter(credential=credential).delete()
        _revoke_all(credential_id, by)  # what was granted while we waited for the lock


def grant_credential(
    *,
    organization: Organization,
    credential_id: UUID | str,
    uses: Collection[str],
    context_ids: Collection[UUID],
    days: int,
    by: User,
) -> CredentialGrant:
    """Consent to uses of a credential on some of the organization's agents, for so many days.

    uses: values of UseFor. A grant never changes: another scope is another grant. Raises NotAllowed or Refused.
    """
    with organization_scope(organization.id):
        managing_membership(organization.id, by)
        credential = _locked(organization, credential_id)
        if not set(uses) - {UseFor.PRIVATE_RUNNERS} or not set(uses) <= set(UseFor.values):
            raise Refused("Choose what the credential may be used for.")
        known = set(
            AgentContext.objects.filter(organization=organization, pk__in=context_ids).values_list("pk", flat=True)
        )
        if not known or known != set(context_ids):
            raise Refused("Choose the agents that may see the credential, among those of your organization.")
        if not 1 <= days <= settings.GRANT_MAX_DAYS:
            raise Refused(f"A grant lasts 1 to {settings.GRANT_MAX_DAYS} days.")
        now = timezone.now()
        return CredentialGrant.objects.create(
            organization_id=organization.id,
            credential=credential,
            context_ids=sorted(known),
            created_at=now,
            expires_at=now + timedelta(days=days),
            created_by=by.get_full_name(),
            **{f"for_{use}": use in uses for use in UseFor.values},
        )


def revoke_grant(*, organization: Organization, grant_id: UUID | str, by: User) -> CredentialGrant:
    """End a grant now. Whatever begins after this does not use it; a run that has begun goes on.

    Raises CredentialGrant.DoesNotExist for unknown ones; one that is revoked already stays as it is.
    """
    with organization_scope(organization.id):
        managing_membership(organization.id, by)
        # Waits for uses that are just being decided, which hold the grant.
        grant = CredentialGrant.objects.select_for_update().get(organization_id=organization.id, pk=grant_id)
        grant.revoke(by.get_full_name())
        return grant


def _revoke_all(credential_id: UUID | str, by: User) -> None:
    standing = CredentialGrant.objects.filter(credential_id=credential_id, revoked_at=None)
    standing.update(revoked_at=timezone.now(), revoked_by=by.get_full_name())


def _locked(organization: Organization, credential_id: UUID | str) -> Credential:
    return Credential.objects.select_for_update(no_key=True).get(
        organization=organization, pk=credential_id, deleted_at=None
    )


@sensitive_variables("secret")
def _sealed(credential: Credential, secret: str) -> str:
    try:
        return seal(
            secret, bound_to=associated_data(credential.pk, credential.organization_id, credential.version, "secret")
        )
    except (Unreadable, ValueError):
        # None, or one that is malformed: the checks of the deployment say which.
        raise Refused("Assay's operator has not set up encryption (ASSAY_VAULT_KEYS), so no secret is kept.") from None


def keep_token(*, credential_id: UUID, organization_id: str, version: int, token: str, expires_at: datetime) -> None:
    """Keep an access token, encrypted, until it expires; not when its client secret was replaced meanwhile."""
    sealed = seal(token, bound_to=associated_data(credential_id, organization_id, version, "token"))
    with organization_scope(organization_id):
        CredentialSecret.objects.filter(credential_id=credential_id, version=version).update(
            sealed_token=sealed, token_expires_at=expires_at
        )


def forget_token(*, credential_id: UUID, organization_id: str) -> None:
    """Drop a kept access token, such as one that an agent refused: the next use asks for a fresh one."""
    with organization_scope(organization_id):
        CredentialSecret.objects.filter(credential_id=credential_id).exclude(sealed_token="").update(
            sealed_token="", token_expires_at=None
        )
