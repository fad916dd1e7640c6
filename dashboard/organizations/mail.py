"""The e-mail of an invitation."""

from __future__ import annotations

import logging
from smtplib import SMTPException

from django.conf import settings
from django.core.mail import send_mail
from django.template.loader import render_to_string
from django.urls import reverse

from compliance.models import Invitation, Organization
from compliance.tenancy.invitations import link_token

logger = logging.getLogger(__name__)


def address_of(invitation: Invitation) -> str:
    """The invitation's link, in full."""
    return f"{settings.SITE_URL}{reverse('invitation_accept', args=[link_token(invitation)])}"


def send_invitation(invitation: Invitation, organization: Organization) -> bool:
    """Send the e-mail; False when the mail server did not take it."""
    context = {"invitation": invitation, "organization": organization, "address": address_of(invitation)}
    # One line: a name with a line break in it must not add a header.
    subject = " ".join(f"{invitation.invited_by_name} invites you to {organization.name} on Assay".split())
    try:
        send_mail(subject, render_to_string("organizations/invitation.txt", context), None, [invitation.email])
    except (OSError, SMTPException) as error:
        logger.warning("The e-mail of invitation %s was not sent: %s", invitation.pk, type(error).__name__)
        return False
    return True
