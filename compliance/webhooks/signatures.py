"""Whether a delivery is its source's own: the Standard Webhooks specification, and how old it may be."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.utils import timezone
from standardwebhooks import Webhook, WebhookVerificationError

_DELIVERY_ID = re.compile(r"[\x21-\x7e]{1,200}")
_TIMESTAMP = re.compile(r"[0-9]{1,12}")


class NotSigned(Exception):
    """The delivery is not, or no longer, to be trusted. The message says why, for the sender's log."""


class UnknownSource(Exception):
    """No source of this name is configured."""


def verified_id(source: str, body: bytes, headers: Mapping[str, str]) -> str:
    """The delivery's id, when one of the source's secrets signed this very body, lately.

    headers: webhook-id, webhook-timestamp (seconds since 1970) and webhook-signature. Raises UnknownSource or
    NotSigned. The body is not parsed.
    """
    secrets = settings.WEBHOOK_SECRETS.get(source)
    if secrets is None:
        raise UnknownSource(source)
    names = ("webhook-id", "webhook-timestamp", "webhook-signature")
    values = {name: headers.get(name, "") for name in names}
    if not all(values.values()):
        raise NotSigned("Send the headers webhook-id, webhook-timestamp and webhook-signature.")
    if not _DELIVERY_ID.fullmatch(values["webhook-id"]):
        raise NotSigned("The webhook-id must have 1 to 200 printable ASCII characters and no space.")
    if not _TIMESTAMP.fullmatch(values["webhook-timestamp"]):
        raise NotSigned("The webhook-timestamp must be whole seconds since 1970.")
    # Every secret is tried, so that the time it takes does not say which of them it was.
    found = [_signed(secret, body, values) for secret in secrets]
    if True not in found:
        raise NotSigned("The signature is not by this source's secret, or the timestamp is too old or too new.")
    _refuse_stale(values["webhook-timestamp"])
    return values["webhook-id"]


def _signed(secret: str, body: bytes, headers: dict[str, str]) -> bool:
    try:
        Webhook(secret).verify(body, headers, json_parse=False)
    except (WebhookVerificationError, ValueError):
        # ValueError: a body that is no UTF-8, or a signature that is no base64.
        return False
    return True


def _refuse_stale(timestamp: str) -> None:
    age = timezone.now() - datetime.fromtimestamp(int(timestamp), tz=UTC)
    if abs(age) > timedelta(seconds=settings.WEBHOOK_TOLERANCE_SECONDS):
        raise NotSigned("The webhook-timestamp is too old or too new. Sign the delivery again; the id stays the same.")
