"""Which sources there are, as the environment says it. The settings read it before there are models."""

from __future__ import annotations

import base64
import re

from django.core.exceptions import ImproperlyConfigured


def read_sources(sources: list[str]) -> dict[str, tuple[str, ...]]:
    """ASSAY_WEBHOOK_SOURCES, read: `name=whsec_…|whsec_…` each. What is wrong is said without the secret."""
    found: dict[str, tuple[str, ...]] = {}
    for source in filter(None, (each.strip() for each in sources)):
        name, _, listed = source.partition("=")
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,59}", name) or name in found:
            raise ImproperlyConfigured(
                "ASSAY_WEBHOOK_SOURCES must be a list such as registry=whsec_…,deploys=whsec_…|whsec_…; each name once,"
                " of lower-case letters, digits and hyphens"
            )
        secrets = tuple(secret.strip() for secret in listed.split("|"))
        if not all(_is_webhook_secret(secret) for secret in secrets):
            raise ImproperlyConfigured(
                f"ASSAY_WEBHOOK_SOURCES: each secret of {name} must be whsec_ and 24 to 64 bytes in base64"
            )
        found[name] = secrets
    return found


def _is_webhook_secret(secret: str) -> bool:
    kind, _, encoded = secret.partition("_")
    try:
        return kind == "whsec" and 24 <= len(base64.b64decode(encoded, validate=True)) <= 64
    except ValueError:
        return False
