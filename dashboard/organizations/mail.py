"""The e-mail of an invitation."""

from __future__ import annotations

import logging
import re
from smtplib import SMTPException

from django.conf import settings
from django.core.mail import send_mail
from django.template.loader import render_to_string
from django.urls import reverse

from compliance.models import Invitation, Organization
from compliance.tenancy.invitations import link_token
from compliance.tenancy.names import plain_name

logger = logging.getLogger(__name__)


_NAME_LENGTH = 60
# What makes a mail program show a link: dots inside a word, slashes, colons, at signs.
_LINKING = re.compile(r"[:/@\\]+|(?<=\w)[.\u3002\uff0e\uff61](?=\w)")


def harmless(name: str) -> str:
    """A name that its owner chose, for a mail to a stranger: one short line, with nothing in it that becomes a link."""
    plain = " ".join(_LINKING.sub(" ", plain_name(name)).split())
    return plain if len(plain) <= _NAME_LENGTH else f"{plain[:_NAME_LENGTH].rstrip()}…"


def address_of(invitation: Invitation) -> str:
    """The invitation's link, in full."""
    return f"{settings.SITE_URL}{reverse('invitation_accept', args=[link_token(invitation)])}"


def send_invitation(invitation: Invitation, organization: Organization) -> bool:
    """Send the e-mail; False when the mail server did not take it."""
    who, where = harmless(invitation.invited_by_name), harmless(organization.name)
    context = {"invitation": invitation, "who": who, "where": where, "address": address_of(invitation)}
    subject = f"{who} invites you to {where} on Assay"
    try:
        send_mail(subject, render_to_string("organizations/invitation.txt", context), None, [invitation.email])
    except (OSError, SMTPException) as error:
        logger.warning("The e-mail of invitation %s was not sent: %s", invitation.pk, type(error).__name__)
        return False
    return True
