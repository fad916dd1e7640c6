"""How many invitations are e-mailed in a day. Whoever may invite must not be able to mail strangers without end."""

from __future__ import annotations

import hashlib

from django.conf import settings
from django.core.cache import cache

from compliance.models import Invitation, User
from compliance.tenancy.errors import Refused

_DAY_SECONDS = 86_400


def count_mail(invitation: Invitation, by: User) -> None:
    """Count the e-mail of an invitation, a new one or one that is sent again.

    Raises Refused when its organization, the person who invites or its recipient has had enough of them in a day:
    the recipient's are counted over all organizations. Counted in the cache, like the limits on logins.
    """
    counted = (
        ("person", str(by.pk), settings.INVITATIONS_PER_PERSON, "by you"),
        ("organization", invitation.organization_id, settings.INVITATIONS_PER_ORGANIZATION, "by this organization"),
        # Last, so that what was refused uses up nothing of what the recipient may be sent by others.
        ("recipient", invitation.email.lower(), settings.INVITATIONS_PER_RECIPIENT, "to this address"),
    )
    for kind, who, most, words in counted:
        if _count(kind, who) > most:
            raise Refused(f"Too many invitations were sent {words} lately. Try again tomorrow.")


def _count(kind: str, who: str) -> int:
    key = f"invitations:{kind}:{hashlib.sha256(who.encode()).hexdigest()}"
    cache.add(key, 0, _DAY_SECONDS)
    try:
        return cache.incr(key)
    except ValueError:  # its day ended a moment ago
        return 1
