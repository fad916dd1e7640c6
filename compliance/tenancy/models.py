"""Who: users, organizations, their members, invitations, and the record of access across organizations."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.auth.models import AbstractUser, BaseUserManager
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower, Now
from django.utils import timezone

from compliance.tenancy import functions
from compliance.tenancy.fields import TextArray
from compliance.tenancy.ids import ORGANIZATION_ID_PATTERN, new_organization_id, uuid7
from compliance.tenancy.rls import (
    APP,
    ORGANIZATION,
    USER,
    Policy,
    RowLevelSecurity,
    isolated,
    own_rows,
    owner_reads,
    staff_everything,
)
from compliance.tenancy.schema import Check, Privileges, deleted_with_organization, insert_only
from compliance.tenancy.scope import Actor, user_scope


class UserManager(BaseUserManager["User"]):
    def create_user(self, email: str, password: str | None = None, **fields: Any) -> User:
        """A user who signs in with `email`; raises ValueError without one."""
        if not email:
            raise ValueError("A user needs an e-mail address")
        user = self.model(email=self.normalize_email(email).lower(), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> User:
        return self.create_user(email, password, is_staff=True, is_superuser=True, **fields)


class User(AbstractUser):
    """A person. Signs in with an e-mail address; belongs to organizations by membership."""

    username = None  # type: ignore[assignment]
    first_name = None  # type: ignore[assignment]
    last_name = None  # type: ignore[assignment]
    email = models.EmailField("e-mail address", unique=True)
    name = models.CharField("name", max_length=100, blank=True)

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS = []
    objects = UserManager()  # type: ignore[assignment,misc]

    class Meta:
        db_table = "users"

    def get_full_name(self) -> str:
        return self.name or self.email

    def get_short_name(self) -> str:
        return self.name or self.email.split("@")[0]

    def as_actor(self) -> Actor:
        """This person as the record keeps them."""
        return Actor("user", str(self.pk), self.get_full_name())


class Role(models.TextChoices):
    OWNER = "owner", "Owner"
    ADMIN = "admin", "Admin"
    MEMBER = "member", "Member"

    def includes(self, other: Role) -> bool:
        """Whether this role may do all that the other may."""
        rising = [Role.MEMBER, Role.ADMIN, Role.OWNER]
        return rising.index(self) >= rising.index(other)


class Organization(models.Model):
    """The tenant. Its key is text, because keys may come from a foreign identity system."""

    id = models.CharField(primary_key=True, max_length=68, default=new_organization_id, editable=False)
    name = models.CharField(max_length=100)
    slug = models.SlugField(max_length=60, unique=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        db_table = "organizations"
        constraints = [
            models.CheckConstraint(condition=Q(id__regex=ORGANIZATION_ID_PATTERN), name="organization_id_shape"),
            RowLevelSecurity(
                [
                    Policy("organization_itself", to=APP, using=f"id = {ORGANIZATION}", check=f"id = {ORGANIZATION}"),
                    Policy(
                        "member_sees_own",
                        to=APP,
                        for_="SELECT",
                        using=f"id IN (SELECT m.organization_id FROM memberships m WHERE m.user_id = {USER})",  # noqa: S608 - our own names
                    ),
                    staff_everything(),
                ]
            ),
            functions.NEVER_REUSE_KEY,
        ]

    def __str__(self) -> str:
        return self.name


class DeletedOrganization(models.Model):
    """The key of an organization that was deleted. Nobody reads or writes it but a trigger on organizations (R11)."""

    id = models.CharField(primary_key=True, max_length=68)
    deleted_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "organization_tombstones"
        constraints = [Privileges()]

    def __str__(self) -> str:
        return self.id


class MembershipQuerySet(models.QuerySet["Membership"]):
    def of_organization(self, organization_id: str) -> MembershipQuerySet:
        """An organization's members with their users: owners first, then by name."""
        rank = models.Case(models.When(role=Role.OWNER, then=0), models.When(role=Role.ADMIN, then=1), default=2)
        return (
            self.filter(organization_id=organization_id)
            .select_related("user")
            .annotate(rank=rank)
            .order_by("rank", Lower("user__name"), "user__email", "id")
        )

    def of_user(self, user: User) -> list[Membership]:
        """The user's memberships with their organizations, by name; read in the user's own scope."""
        with user_scope(user.pk):
            return list(
                self.filter(user=user).select_related("organization").order_by("organization__name", "organization_id")
            )


class Membership(models.Model):
    """A user in an organization."""

    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=10, choices=Role.choices, default=Role.MEMBER)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = MembershipQuerySet.as_manager()

    class Meta:
        db_table = "memberships"
        verbose_name = "member"
        constraints = [
            models.UniqueConstraint(fields=["organization", "user"], name="one_membership_per_user"),
            models.CheckConstraint(condition=Q(role__in=Role.values), name="membership_role_known"),
            RowLevelSecurity(
                [
                    own_rows(),
                    Policy("member_sees_own", to=APP, for_="SELECT", using=f"user_id = {USER}"),
                    staff_everything(),
                ]
            ),
        ]

    def __str__(self) -> str:
        return f"{self.user_id} in {self.organization_id} ({self.role})"

    @property
    def may_manage(self) -> bool:
        """Owners and admins change agents, members and settings; members read and run tests."""
        return self.role in (Role.OWNER, Role.ADMIN)


def _invitation_expiry() -> datetime:
    return timezone.now() + timedelta(days=settings.INVITATION_VALID_DAYS)


class InvitationQuerySet(models.QuerySet["Invitation"]):
    def open_of(self, organization_id: str) -> InvitationQuerySet:
        """An organization's invitations that nobody has accepted, expired ones included, the newest first."""
        return self.filter(organization_id=organization_id, accepted_at=None).order_by("-created_at", "id")


class Invitation(models.Model):
    """An e-mailed offer of membership. The link is signed (invitations.py); no secret is stored."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="invitations")
    email = models.EmailField()
    role = models.CharField(max_length=10, choices=Role.choices, default=Role.MEMBER)
    invited_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    invited_by_name = models.CharField(max_length=254)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField(default=_invitation_expiry)
    accepted_at = models.DateTimeField(null=True, blank=True)

    objects = InvitationQuerySet.as_manager()

    class Meta:
        db_table = "invitations"
        constraints = [
            models.UniqueConstraint(
                "organization",
                Lower("email"),
                condition=Q(accepted_at__isnull=True),
                name="one_open_invitation_per_email",
            ),
            models.CheckConstraint(condition=Q(role__in=Role.values), name="invitation_role_known"),
            RowLevelSecurity([own_rows(), staff_everything()]),
        ]

    def __str__(self) -> str:
        return f"{self.email} to {self.organization_id}"

    @property
    def has_expired(self) -> bool:
        return self.expires_at <= timezone.now()


class Scope(models.TextChoices):
    """What a key may do. Each stands for itself: none brings another with it."""

    READ = "read", "Read"
    TEST = "test", "Ask for tests"
    MANAGE = "manage", "Manage agents and monitors"
    RUNNER = "runner", "Work as a private runner"


OF_ORGANIZATION = (Scope.READ, Scope.TEST, Scope.MANAGE)  # what people may give to a key that they create


class ApiKeyQuerySet(models.QuerySet["ApiKey"]):
    def of_organization(self, organization_id: str) -> ApiKeyQuerySet:
        """The keys that people of the organization made for its API, the newest first; those of runners are theirs."""
        return self.filter(organization_id=organization_id, runner_id=None).order_by("-created_at", "-id")

    def of_runner(self, organization_id: str, runner_id: UUID) -> ApiKeyQuerySet:
        """A runner's keys, the newest first."""
        return self.filter(organization_id=organization_id, runner_id=runner_id).order_by("-created_at", "-id")

    def valid(self) -> ApiKeyQuerySet:
        """Keys that work now."""
        return self.filter(revoked_at=None, expires_at__gt=timezone.now())


class ApiKey(models.Model):
    """A key. Its token is shown once, when it is made; what is kept cannot give it back."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    # The database's reference, below, takes the keys along with their organization.
    organization = models.ForeignKey(
        Organization, on_delete=models.DO_NOTHING, db_constraint=False, related_name="api_keys"
    )
    name = models.CharField(max_length=100)
    prefix = models.CharField(
        max_length=8, unique=True, help_text="The token's public part, by which people know the key."
    )
    secret_hash = models.CharField(max_length=64, unique=True, help_text="SHA-256 of the whole token, in hex.")
    scopes = TextArray(help_text="Values of Scope.")
    runner_id = models.UUIDField(null=True, blank=True, help_text="The runner whose key it is.")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    created_by = models.CharField(max_length=254, help_text="As they were called then.")
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True, blank=True)
    revoked_by = models.CharField(max_length=254, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True, help_text="To the minute.")

    objects = ApiKeyQuerySet.as_manager()

    class Meta:
        db_table = "api_keys"
        verbose_name = "API key"
        constraints = [
            models.CheckConstraint(condition=Q(prefix__regex=r"^[0-9A-Za-z]{8}$"), name="key_prefix_shape"),
            models.CheckConstraint(condition=Q(("secret_hash__regex", r"^[0-9a-f]{64}$")), name="key_hash_shape"),
            models.CheckConstraint(
                condition=Q(revoked_at__isnull=True, revoked_by="") | Q(revoked_at__isnull=False),
                name="key_revoked_by_iff_revoked",
            ),
            Check(name="key_ends", condition="isfinite(expires_at) AND expires_at > created_at"),
            Check(
                name="key_scopes_known",
                condition="cardinality(scopes) > 0 AND array_position(scopes, NULL) IS NULL"
                " AND scopes <@ ARRAY['read', 'test', 'manage', 'runner']",
            ),
            Check(
                name="key_of_runner_iff_scope_runner",
                condition="CASE WHEN runner_id IS NULL THEN NOT 'runner' = ANY (scopes)"
                " ELSE scopes = ARRAY['runner'] END",
            ),
            deleted_with_organization("api_keys_organization_fk"),
            isolated(owner_reads("finding_key")),
            Privileges(
                app="SELECT, INSERT, UPDATE (revoked_at, revoked_by, last_used_at)",
                staff="SELECT (id, organization_id, name, prefix, scopes, runner_id, created_at, created_by,"
                " expires_at, revoked_at, revoked_by, last_used_at)",  # all but the hash
            ),
            functions.GUARD_API_KEY,
            functions.FIND_API_KEY,
        ]
        indexes = [
            models.Index(fields=["organization", "-created_at", "-id"], name="keys_newest"),
            models.Index(
                fields=["organization", "runner_id"], name="keys_of_runner", condition=Q(runner_id__isnull=False)
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def has_expired(self) -> bool:
        return self.expires_at <= timezone.now()

    @property
    def works(self) -> bool:
        return self.revoked_at is None and not self.has_expired

    @property
    def scope_words(self) -> str:
        """What it may do: "Read, Ask for tests"."""
        return ", ".join(str(Scope(scope).label) for scope in self.scopes if scope in Scope.values)


class SystemScopeUse(models.Model):
    """One access across organizations: who, why, what, when (I7). Insert-only."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    actor_kind = models.CharField(max_length=10)
    actor_id = models.CharField(max_length=100)
    actor_name = models.CharField(max_length=254)
    reason = models.CharField(max_length=300)
    what = models.CharField(max_length=500, blank=True)
    at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        db_table = "system_scope_uses"
        verbose_name = "access record"
        verbose_name_plural = "access records"
        ordering = ["-at", "-id"]
        constraints = [
            Privileges(staff="SELECT, INSERT"),
            functions.REFUSE_CHANGE,
            insert_only(),
        ]

    def __str__(self) -> str:
        return f"{self.actor_name}: {self.reason}"
