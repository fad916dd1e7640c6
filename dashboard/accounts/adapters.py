"""How signing up and in fits into Assay."""

from __future__ import annotations

import logging
from smtplib import SMTPException
from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.mfa.adapter import DefaultMFAAdapter
from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest
from django.urls import reverse

from compliance.vault.encryption import SECOND_FACTOR, is_sealed, seal, unseal

logger = logging.getLogger(__name__)

_INVITATION = "invitation"


def remember_invitation(request: HttpRequest, token: str) -> None:
    """Keep the link that somebody came with, until they have signed up or in."""
    request.session[_INVITATION] = token


def forget_invitation(request: HttpRequest) -> None:
    request.session.pop(_INVITATION, None)


class AccountAdapter(DefaultAccountAdapter):
    """Leads back to an open invitation, and outlives a mail server that is away."""

    def get_login_redirect_url(self, request: HttpRequest) -> str:
        return _invitation_address(request) or super().get_login_redirect_url(request)

    def get_signup_redirect_url(self, request: HttpRequest) -> str:
        return _invitation_address(request) or super().get_signup_redirect_url(request)

    def get_email_verification_redirect_url(self, email_address: Any) -> str:
        return _invitation_address(self.request) or super().get_email_verification_redirect_url(email_address)

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        try:
            super().send_mail(template_prefix, email, self._with_links_to_the_site(context))
        except (OSError, SMTPException) as error:
            logger.warning("E-mail %s was not sent: %s", template_prefix, type(error).__name__)
            if self.request is not None:
                messages.error(self.request, "The e-mail could not be sent. Try again in a few minutes.")

    def is_safe_url(self, url: str) -> bool:
        try:
            return super().is_safe_url(url)
        except ValueError:  # no address at all, such as "http://["
            return False

    def _with_links_to_the_site(self, context: dict[str, Any]) -> dict[str, Any]:
        """The context of a mail with its links made from SITE_URL: who asked for the mail chose the Host header."""
        if self.request is None:
            return context
        asked = self.request.build_absolute_uri("/")
        return {
            name: f"{settings.SITE_URL}/{value.removeprefix(asked)}"
            if isinstance(value, str) and value.startswith(asked)
            else value
            for name, value in context.items()
        }


def _invitation_address(request: HttpRequest | None) -> str | None:
    token = request.session.get(_INVITATION) if request is not None else None
    return reverse("invitation_accept", args=[token]) if token else None


class MFAAdapter(DefaultMFAAdapter):
    """Keeps the seeds of two-factor authentication encrypted, with the vault's keys."""

    def encrypt(self, text: str) -> str:
        return seal(text, bound_to=SECOND_FACTOR)

    def decrypt(self, encrypted_text: str) -> str:
        # Seeds from before they were encrypted; `manage.py rotate_credentials` leaves none of them.
        if not is_sealed(encrypted_text):
            return encrypted_text
        return str(unseal(encrypted_text, bound_to=SECOND_FACTOR))
