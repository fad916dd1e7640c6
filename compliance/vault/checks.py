"""System checks of the vault's keys."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register

from compliance.vault.encryption import HOW_TO_MAKE_A_KEY, keyring


@register(Tags.security)
def keys_are_well_formed(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    if not settings.VAULT_KEYS:
        return []
    try:
        keyring()
    except ValueError as error:
        return [Error(str(error), id="compliance.E001")]
    return []


@register(Tags.security, deploy=True)
def keys_are_set(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    if settings.VAULT_KEYS:
        return []
    message = "ASSAY_VAULT_KEYS is not set: no credential can be kept, and no second factor be set up."
    return [Error(message, hint=HOW_TO_MAKE_A_KEY, id="compliance.E002")]
