"""Writes of tenancy: organizations, members, invitations. Each is atomic and checks the actor's role itself."""

from __future__ import annotations

from uuid import UUID

from allauth.account.models import EmailAddress
from django.db import IntegrityError
from django.utils import timezone
from django.utils.crypto import get_random_string
from django.utils.text import slugify

from compliance.tenancy.errors import NotAllowed, Refused
from compliance.tenancy.ids import new_organization_id
from compliance.tenancy.models import Invitation, Membership, Organization, Role, User
from compliance.tenancy.names import plain_name
from compliance.tenancy.roles import lock_organization, managing_membership
from compliance.tenancy.scope import organization_scope

_SLUG_END = "abcdefghjkmnpqrstuvwxyz23456789"  # without what looks alike


def create_organization(*, name: str, by: User, slug: str = "") -> Organization:
    """Create an organization with `by` as its owner. Raises Refused when the name is empty, or the slug taken.

    slug: its address part, for callers that need a certain one. As a rule it is made from the name, with a random
    end: nobody learns from it whether there is another organization of that name.
    """
    name = plain_name(name)
    if not name:
        raise Refused("Give the organization a name.")
    base = slugify(name)[:50] or "organization"
    for _ in range(1 if slug else 5):
        chosen = slug or f"{base}-{get_random_string(5, _SLUG_END)}"
        organization = Organization(id=new_organization_id(), name=name, slug=chosen)
        try:
            with organization_scope(organization.id):
                organization.save(force_insert=True)
                Membership.objects.create(organization=organization, user=by, role=Role.OWNER)
        except IntegrityError:
            continue
        return organization
    raise Refused("Its address is taken. Try again.")


def rename_organization(*, organization: Organization, name: str, by: User) -> Organization:
    """Change the shown name; the address stays, so that links keep working."""
    with organization_scope(organization.id):
        lock_organization(organization.id)
        managing_membership(organization.id, by)
        organization.name = plain_name(name)
        if not organization.name:
            raise Refused("Give the organization a name.")
        organization.save(update_fields=["name"])
    return organization


def delete_organization(*, organization: Organization, by: User) -> None:
    """Delete an organization and all that is its own. Its runs stay in the record and become unreachable (R11)."""
    with organization_scope(organization.id):
        lock_organization(organization.id)
        if managing_membership(organization.id, by).role != Role.OWNER:
            raise NotAllowed("Only an owner may delete the organization.")
        Organization.objects.filter(pk=organization.pk).delete()


def invite(*, organization: Organization, email: str, role: str, by: User) -> Invitation:
    """Create the invitation, or renew the open one for the same address.

    Sending the e-mail is the caller's, after the commit. Raises NotAllowed or Refused.
    """
    email = email.strip().lower()
    if role not in Role.values:
        raise Refused("Choose owner, admin or member.")
    with organization_scope(organization.id):
        # Two who invite the same address at once: the second replaces the first one's invitation.
        lock_organization(organization.id)
        mine = managing_membership(organization.id, by)
        if role == Role.OWNER and mine.role != Role.OWNER:
            raise NotAllowed("Only an owner may invite another owner.")
        if Membership.objects.filter(organization=organization, user__email__iexact=email).exists():
            raise Refused(f"{email} is a member already.")
        Invitation.objects.filter(organization=organization, email__iexact=email, accepted_at=None).delete()
        return Invitation.objects.create(
            organization=organization, email=email, role=role, invited_by=by, invited_by_name=by.get_full_name()
        )


def revoke_invitation(*, organization: Organization, invitation_id: UUID | str, by: User) -> None:
    """Withdraw an open invitation; its link stops working. Unknown ones raise Invitation.DoesNotExist."""
    with organization_scope(organization.id):
        managing_membership(organization.id, by)
        Invitation.objects.get(organization=organization, pk=invitation_id, accepted_at=None).delete()


def renew_invitation(*, organization: Organization, invitation_id: UUID | str, by: User) -> Invitation:
    """Replace an open invitation by one that expires later; the old link stops working.

    Unknown ones raise Invitation.DoesNotExist.
    """
    with organization_scope(organization.id):
        old = Invitation.objects.get(organization=organization, pk=invitation_id, accepted_at=None)
        return invite(organization=organization, email=old.email, role=old.role, by=by)


def accept_invitation(*, organization_id: str, invitation_id: str, by: User) -> Membership:
    """Turn an open invitation into a membership of `by`.

    The caller has verified the link's signature. The address must be the invited one, and confirmed by e-mail: a
    forwarded link does not let somebody else in. Raises Refused otherwise.
    """
    with organization_scope(organization_id):
        invitation = (
            Invitation.objects.select_for_update().filter(pk=invitation_id, organization_id=organization_id).first()
        )
        if invitation is None:
            raise Refused("This invitation was withdrawn or replaced. Ask for a new one.")
        if invitation.email.lower() != by.email.lower():
            raise Refused(f"This invitation is for {invitation.email}. Sign in with that address to accept it.")
        existing = Membership.objects.filter(organization_id=organization_id, user=by).first()
        if existing is not None:
            return existing
        if invitation.accepted_at is not None:
            raise Refused("This invitation has been used. Ask for a new one.")
        if invitation.has_expired:
            raise Refused("This invitation has expired. Ask for a new one.")
        if not has_confirmed(by, invitation.email):
            raise Refused(f"Confirm first that {invitation.email} is your address.")
        invitation.accepted_at = timezone.now()
        invitation.save(update_fields=["accepted_at"])
        return Membership.objects.create(organization_id=organization_id, user=by, role=invitation.role)


def has_confirmed(user: User, address: str) -> bool:
    """Whether somebody has shown, by a link in an e-mail, that an address is theirs."""
    confirmed: bool = EmailAddress.objects.filter(user=user, email__iexact=address, verified=True).exists()
    return confirmed


def refuse_without_owner(organization_id: str, without: Membership) -> None:
    """Raise Refused when the organization would have no owner without this membership."""
    # Of two owners who leave at once, the second waits, and then sees that the first is gone.
    lock_organization(organization_id)
    owners = list(
        Membership.objects.filter(organization_id=organization_id, role=Role.OWNER).values_list("pk", flat=True)[:2]
    )
    if owners == [without.pk]:
        raise Refused("An organization needs an owner. Make somebody else an owner first.")


def change_role(*, organization: Organization, membership_id: int, role: str, by: User) -> Membership:
    """Give a member another role. Only owners make or unmake owners; the last owner stays."""
    with organization_scope(organization.id):
        lock_organization(organization.id)
        mine = managing_membership(organization.id, by)
        theirs = Membership.objects.select_for_update().get(organization=organization, pk=membership_id)
        if role not in Role.values:
            raise Refused("Choose owner, admin or member.")
        if Role.OWNER in (role, theirs.role) and mine.role != Role.OWNER:
            raise NotAllowed("Only an owner may make or unmake an owner.")
        if theirs.role == Role.OWNER and role != Role.OWNER:
            refuse_without_owner(organization.id, theirs)
        theirs.role = role
        theirs.save(update_fields=["role"])
        return theirs


def remove_member(*, organization: Organization, membership_id: int, by: User) -> None:
    """End a membership: one's own, or, for owners and admins, another's. The last owner stays."""
    with organization_scope(organization.id):
        lock_organization(organization.id)
        theirs = Membership.objects.select_for_update().get(organization=organization, pk=membership_id)
        if theirs.user_id != by.pk:
            mine = managing_membership(organization.id, by)
            if theirs.role == Role.OWNER and mine.role != Role.OWNER:
                raise NotAllowed("Only an owner may remove an owner.")
        if theirs.role == Role.OWNER:
            refuse_without_owner(organization.id, theirs)
        theirs.delete()
