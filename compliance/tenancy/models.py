"""Who: users, organizations, their members, invitations, and the record of looks across organizations."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth.models import AbstractUser, BaseUserManager
from django.db import models
from django.db.models.functions import Lower
from django.utils import timezone

from compliance.tenancy.ids import ORGANIZATION_ID_PATTERN, new_organization_id, uuid7
from compliance.tenancy.scope import Actor


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


class Organization(models.Model):
    """The tenant. Its key is text, because keys may come from a foreign identity system."""

    id = models.CharField(primary_key=True, max_length=68, default=new_organization_id, editable=False)
    name = models.CharField(max_length=100)
    slug = models.SlugField(max_length=60, unique=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        db_table = "organizations"
        constraints = [
            models.CheckConstraint(condition=models.Q(id__regex=ORGANIZATION_ID_PATTERN), name="organization_id_shape"),
        ]

    def __str__(self) -> str:
        return self.name


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
            models.CheckConstraint(condition=models.Q(role__in=Role.values), name="membership_role_known"),
        ]

    def __str__(self) -> str:
        return f"{self.user_id} in {self.organization_id} ({self.role})"

    @property
    def may_manage(self) -> bool:
        """Owners and admins change agents, members and settings; members look and run tests."""
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
                condition=models.Q(accepted_at__isnull=True),
                name="one_open_invitation_per_email",
            ),
            models.CheckConstraint(condition=models.Q(role__in=Role.values), name="invitation_role_known"),
        ]

    def __str__(self) -> str:
        return f"{self.email} to {self.organization_id}"

    @property
    def has_expired(self) -> bool:
        return self.expires_at <= timezone.now()


class SystemScopeUse(models.Model):
    """One look across organizations: who, why, what, when (I7). Insert-only."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    actor_kind = models.CharField(max_length=10)
    actor_id = models.CharField(max_length=100)
    actor_name = models.CharField(max_length=254)
    reason = models.CharField(max_length=300)
    what = models.CharField(max_length=500, blank=True)
    at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        db_table = "system_scope_uses"
        verbose_name = "look across organizations"
        verbose_name_plural = "looks across organizations"
        ordering = ["-at", "-id"]

    def __str__(self) -> str:
        return f"{self.actor_name}: {self.reason}"
