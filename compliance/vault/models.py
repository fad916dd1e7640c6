"""With: credentials, the grants that say what they may be used for, and the record of their uses."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower
from django.utils import timezone

from compliance.tenancy.fields import UUIDArray
from compliance.tenancy.ids import uuid7
from compliance.tenancy.models import Organization
from compliance.tenancy.rls import RowLevelSecurity, isolated, own_rows, owner_reads
from compliance.tenancy.schema import Check, Privileges, Reference, deleted_with_organization, insert_only
from compliance.vault import functions
from compliance.vault.kinds import Kind


class UseFor(models.TextChoices):
    """What a grant may allow."""

    OWNER_TESTS = "owner_tests", "Tests that somebody asks for"
    MONITORS = "monitors", "Monitors"
    HEARTBEATS = "heartbeats", "Heartbeats"
    # Not a use of its own: for the uses above, the secret may also leave Assay.
    PRIVATE_RUNNERS = "private_runners", "Handed to private runners"


class CredentialQuerySet(models.QuerySet["Credential"]):
    def not_deleted(self, organization_id: str) -> CredentialQuerySet:
        """An organization's credentials that are not deleted, by name."""
        return self.filter(organization_id=organization_id, deleted_at=None).order_by(Lower("name"), "id")


class Credential(models.Model):
    """What an organization calls a secret, and what may be shown of it. The secret itself is a CredentialSecret.

    A deleted one stays as a name that the record of uses refers to; its secret is gone.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    # The database's references, below, delete what belongs to a deleted organization.
    organization = models.ForeignKey(
        Organization, on_delete=models.DO_NOTHING, db_constraint=False, related_name="credentials"
    )
    name = models.CharField(max_length=100)
    kind = models.CharField(max_length=10, choices=Kind.choices)
    parameters = models.JSONField(default=dict, help_text="What of it is no secret, such as the user name.")
    hint = models.CharField(max_length=4, blank=True, help_text="The secret's last characters, if it is long enough.")
    version = models.PositiveIntegerField(default=1, help_text="Counts how often the secret was replaced, from 1.")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    created_by = models.CharField(max_length=254, help_text="As they were called then.")
    replaced_at = models.DateTimeField(default=timezone.now)
    deleted_at = models.DateTimeField(null=True, blank=True)
    deleted_by = models.CharField(max_length=254, blank=True)

    objects = CredentialQuerySet.as_manager()

    class Meta:
        db_table = "credentials"
        constraints = [
            models.UniqueConstraint(
                "organization", Lower("name"), condition=Q(deleted_at__isnull=True), name="one_credential_per_name"
            ),
            models.CheckConstraint(condition=Q(kind__in=Kind.values), name="credential_kind_known"),
            models.UniqueConstraint(fields=["id", "organization"], name="credentials_of_organization"),
            deleted_with_organization("credentials_organization_fk"),
            isolated(),
            Privileges(
                app="SELECT, INSERT, UPDATE (name, parameters, hint, version, replaced_at, deleted_at, deleted_by)",
                staff="SELECT",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class CredentialSecret(models.Model):
    """A credential's sealed secret, and an access token that was bought with it. Staff has no right to this table."""

    credential = models.OneToOneField(
        Credential, primary_key=True, on_delete=models.DO_NOTHING, db_constraint=False, related_name="+"
    )
    organization_id = models.CharField(max_length=68)
    version = models.PositiveIntegerField()
    sealed = models.TextField()
    sealed_token = models.TextField(blank=True)
    token_expires_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "credential_secrets"
        constraints = [
            Reference(
                name="credential_secrets_credential_fk",
                columns="credential_id, organization_id",
                to="credentials (id, organization_id)",
                on_delete="CASCADE",
            ),
            RowLevelSecurity([own_rows()]),
            Privileges(app="SELECT, INSERT, DELETE, UPDATE (version, sealed, sealed_token, token_expires_at)"),
        ]

    def __str__(self) -> str:
        return f"secret of {self.credential_id}"


class CredentialGrant(models.Model):
    """An organization's consent: for which uses, on which agents, until when. Never changed, only revoked."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organization_id = models.CharField(max_length=68)
    credential = models.ForeignKey(
        Credential, on_delete=models.DO_NOTHING, db_constraint=False, related_name="grants", db_index=False
    )
    for_owner_tests = models.BooleanField(default=False)
    for_monitors = models.BooleanField(default=False)
    for_heartbeats = models.BooleanField(default=False)
    for_private_runners = models.BooleanField(default=False, db_default=False)
    # Keys of agent contexts. One that is removed names nothing any more, and its key is never used again.
    context_ids = UUIDArray()
    expires_at = models.DateTimeField()
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    created_by = models.CharField(max_length=254, help_text="As they were called then.")
    revoked_at = models.DateTimeField(null=True, blank=True)
    revoked_by = models.CharField(max_length=254, blank=True)

    class Meta:
        db_table = "credential_grants"
        constraints = [
            models.CheckConstraint(
                condition=Q(for_owner_tests=True) | Q(for_monitors=True) | Q(for_heartbeats=True),
                name="grant_for_something",
            ),
            # 'infinity' is an instant to PostgreSQL, and no end.
            Check(name="grant_ends", condition="isfinite(expires_at) AND expires_at > created_at"),
            Check(name="grant_names_agents", condition="cardinality(context_ids) BETWEEN 1 AND 1000"),
            Reference(
                name="credential_grants_credential_fk",
                columns="credential_id, organization_id",
                to="credentials (id, organization_id)",
                on_delete="CASCADE",
            ),
            isolated(owner_reads("finding_heartbeats", "for_heartbeats")),
            Privileges(app="SELECT, INSERT, UPDATE (revoked_at, revoked_by)", staff="SELECT"),
            functions.GUARD_GRANT,
            functions.HEARTBEAT_CREDENTIALS,
        ]
        indexes = [
            models.Index(fields=["credential", "created_at", "id"], name="grants_of_credential"),
            models.Index(
                fields=["organization_id", "created_at", "id"], name="grants_standing", condition=Q(revoked_at=None)
            ),
        ]

    def __str__(self) -> str:
        return f"grant {self.pk} of {self.credential_id}"

    def is_for(self, use: str) -> bool:
        return bool(getattr(self, f"for_{use}", False))

    @property
    def uses(self) -> list[str]:
        """What it allows, in words."""
        return [str(use.label) for use in UseFor if self.is_for(use)]

    @property
    def has_expired(self) -> bool:
        return expired(self.expires_at, timezone.now())

    @property
    def is_live(self) -> bool:
        return self.revoked_at is None and not self.has_expired

    def revoke(self, by: str) -> None:
        """End it now; one that is revoked stays as it is."""
        if self.revoked_at is None:
            self.revoked_at, self.revoked_by = timezone.now(), by
            self.save(update_fields=["revoked_at", "revoked_by"])


def expired(expires_at: object, now: datetime) -> bool:
    """Whether the time is over. An expiry that cannot be read counts as over (V4)."""
    if not isinstance(expires_at, datetime) or expires_at.tzinfo is None:
        return True
    return expires_at <= now


class UseResult(models.TextChoices):
    """What became of an attempt to use a credential. Decided, and committed, before the use (V2)."""

    OK = "ok", "Used"
    NO_GRANT = "no_grant", "No grant"
    EXPIRED = "expired", "Grant expired"
    REVOKED = "revoked", "Grant revoked"
    USE_OUT_OF_SCOPE = "use_scope", "Use not granted"
    AGENT_OUT_OF_SCOPE = "agent_scope", "Agent not granted"
    DELETED = "deleted", "Credential deleted"
    UNREADABLE = "unreadable", "Could not be decrypted"
    TOKEN_FAILED = "token_failed", "No access token"


class SentTo(models.TextChoices):
    """Who would see the secret."""

    AGENT = "agent", "The agent"
    TOKEN_ENDPOINT = "token_endpoint", "The token endpoint"
    RUNNER = "runner", "A private runner"


class CredentialUseQuerySet(models.QuerySet["CredentialUse"]):
    def narrowed(
        self,
        *,
        credential_id: UUID | None = None,
        agent_url: str = "",
        result: str = "",
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> CredentialUseQuerySet:
        """Only those of a credential or an agent, with a result, at or after `since` and before `until`.

        result: a value of UseResult, or "refused" for all but OK.
        """
        uses = self.filter(credential_id=credential_id) if credential_id else self
        uses = uses.filter(agent_url=agent_url) if agent_url else uses
        if result == "refused":
            uses = uses.exclude(result=UseResult.OK)
        elif result:
            uses = uses.filter(result=result)
        uses = uses.filter(at__gte=since) if since else uses
        return uses.filter(at__lt=until) if until else uses


class CredentialUse(models.Model):
    """One attempt to use a credential. Insert-only; names its run, which may never have been recorded."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    # No foreign keys: the record outlives what it names.
    organization_id = models.CharField(
        max_length=68, db_comment="No foreign key on purpose: see agent_compliance_runs.triggered_org_id."
    )
    at = models.DateTimeField(default=timezone.now)
    sent_to = models.CharField(max_length=14, choices=SentTo.choices)
    result = models.CharField(max_length=14, choices=UseResult.choices)
    reason = models.CharField(max_length=300, blank=True, help_text="Why not, and what to do.")
    credential_id = models.UUIDField()
    credential_name = models.CharField(max_length=100, help_text="As it was called then.")
    credential_version = models.PositiveIntegerField()
    grant_id = models.UUIDField(null=True)
    agent_url = models.TextField()
    triggered_by = models.CharField(max_length=16)
    actor_kind = models.CharField(max_length=10)
    actor_id = models.CharField(max_length=100)
    actor_name = models.CharField(max_length=254, help_text="As it was then.")
    executor_name = models.CharField(max_length=100, blank=True)
    job_id = models.UUIDField()
    run_id = models.UUIDField()

    objects = CredentialUseQuerySet.as_manager()

    # What a list shows of others; access_page fills it in, and the status of the run who may ask for runs.
    context_id: UUID | None  # None: the organization no longer has the agent
    agent_name: str
    run_status: str | None = None  # None: no run came of it, or not yet

    class Meta:
        db_table = "credential_uses"
        constraints = [
            models.CheckConstraint(condition=Q(result__in=UseResult.values), name="use_result_known"),
            models.CheckConstraint(condition=Q(sent_to__in=SentTo.values), name="use_sent_to_known"),
            isolated(),
            Privileges(app="SELECT, INSERT", staff="SELECT"),
            insert_only(),
        ]
        indexes = [
            models.Index(fields=["organization_id", "-at", "-id"], name="uses_newest"),
            models.Index(fields=["organization_id", "credential_id", "-at", "-id"], name="uses_of_credential"),
            models.Index(fields=["organization_id", "agent_url", "-at", "-id"], name="uses_of_agent"),
        ]

    def __str__(self) -> str:
        return f"{self.credential_name} on {self.agent_url}: {self.get_result_display()}"


def associated_data(credential_id: UUID, organization_id: str, version: int, what: str) -> tuple[str | int, ...]:
    """What a sealed text of a credential is bound to. what: "secret" or "token"."""
    return ("credential", what, organization_id, str(credential_id), version)
