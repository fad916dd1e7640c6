"""The link of an invitation: signed, so that nothing secret is stored and nothing can be guessed."""

from __future__ import annotations

from django.core import signing

from compliance.tenancy.models import Invitation

_SALT = "assay.invitation"


def link_token(invitation: Invitation) -> str:
    """The part of the link that names the invitation."""
    return signing.dumps([invitation.organization_id, str(invitation.pk)], salt=_SALT)


def read_token(token: str) -> tuple[str, str] | None:
    """(organization key, invitation key) of a link, or None when it was not made here."""
    try:
        organization_id, invitation_id = signing.loads(token, salt=_SALT)
    except (signing.BadSignature, ValueError, TypeError):
        return None
    return organization_id, invitation_id
