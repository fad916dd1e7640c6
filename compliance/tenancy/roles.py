"""Who may: the one rule that pages and the API ask (L7). A person has a role, a key has scopes; both are locked."""

from __future__ import annotations

from typing import overload

from compliance.tenancy.api_keys import KeyActor, Principal
from compliance.tenancy.errors import NotAllowed
from compliance.tenancy.models import ApiKey, Membership, Organization, Scope, User


def lock_organization(organization_id: str) -> None:
    """Let nobody else change the organization or its members until the transaction ends; the first lock to take.

    Owners who change or remove each other at once wait here, instead of each holding the row
    that the other needs. Rows that refer to the organization can be written meanwhile.
    """
    list(Organization.objects.select_for_update(no_key=True).filter(pk=organization_id).values_list("pk"))


@overload
def managing_membership(organization_id: str, by: User) -> Membership: ...
@overload
def managing_membership(organization_id: str, by: Principal) -> Membership | ApiKey: ...
def managing_membership(organization_id: str, by: Principal) -> Membership | ApiKey:
    """The membership, or the key, by which `by` manages the organization, locked; raises NotAllowed without one."""
    if isinstance(by, KeyActor):
        return working_key(organization_id, by, Scope.MANAGE)
    # Locked, so that a role withdrawn at the same moment is either seen here or waits for us.
    membership = Membership.objects.select_for_update().filter(organization_id=organization_id, user=by).first()
    if membership is None or not membership.may_manage:
        raise NotAllowed("Only owners and admins of the organization may do this.")
    return membership


def membership_to_test(organization_id: str, by: Principal) -> Membership | ApiKey:
    """The membership, or the key, by which `by` asks for the organization's tests; raises NotAllowed without one."""
    if isinstance(by, KeyActor):
        return working_key(organization_id, by, Scope.TEST)
    membership = Membership.objects.filter(organization_id=organization_id, user=by).first()
    if membership is None:
        raise NotAllowed("Only members of the organization may test its agents.")
    return membership


def working_key(organization_id: str, by: KeyActor, scope: str) -> ApiKey:
    """The key, locked, if it is the organization's, works now, and has the scope; raises NotAllowed otherwise."""
    # As it is now, not as it was when the call began: a key that is revoked meanwhile does nothing more.
    keys = ApiKey.objects.valid().filter(organization_id=organization_id, pk=by.key_id)
    key = keys.select_for_update(no_key=True, of=("self",)).first()
    if key is None:
        raise NotAllowed("This API key is no longer valid.")
    if scope not in key.scopes:
        raise NotAllowed(f"This API key does not have the scope “{scope}”.")
    return key
