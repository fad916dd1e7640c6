"""Sealing: secrets encrypted with the keys of the environment, each bound to the row that it belongs to (V1, V6).

Whoever moves a sealed text to another row, organization or version gets nothing out of it: what it was sealed
for is inside, under the same authentication as the secret.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings

_MARK = "av1"
SECOND_FACTOR = ("second factor",)  # what the seeds of second factors are bound to: the hooks name no person
HOW_TO_MAKE_A_KEY = "Make one with: python -c 'import secrets; print(secrets.token_urlsafe(32))'"


class Unreadable(Exception):
    """A sealed text cannot be opened: no key, a lost key, another row's text, or damage."""


@dataclass(frozen=True, slots=True)
class Keyring:
    """The keys, the newest first: it seals; all of them open."""

    newest: str  # the newest key's fingerprint, which says nothing about the key
    fernet: MultiFernet = field(repr=False)


@lru_cache(maxsize=4)
def _keyring(keys: tuple[str, ...]) -> Keyring:
    raw = [_raw_key(number, key) for number, key in enumerate(keys, start=1)]
    fernets = [Fernet(base64.urlsafe_b64encode(key)) for key in raw]
    return Keyring(hashlib.sha256(b"assay vault key" + raw[0]).hexdigest()[:12], MultiFernet(fernets))


def _raw_key(number: int, key: str) -> bytes:
    try:
        raw = base64.b64decode(key + "=" * (-len(key) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != 32:
        raise ValueError(f"Key {number} of ASSAY_VAULT_KEYS is not 32 bytes in URL-safe base64. {HOW_TO_MAKE_A_KEY}")
    return raw


def keyring() -> Keyring:
    """The keys of ASSAY_VAULT_KEYS. Raises Unreadable without any, ValueError for one that is malformed."""
    if not settings.VAULT_KEYS:
        raise Unreadable("ASSAY_VAULT_KEYS is not set, so nothing can be encrypted or decrypted")
    return _keyring(tuple(settings.VAULT_KEYS))


def seal(value: Any, *, bound_to: tuple[str | int, ...]) -> str:
    """The value, which must be JSON, encrypted with the newest key. bound_to: what it takes to open it again."""
    ring = keyring()
    plain = json.dumps({"for": bound_to, "value": value}).encode()
    return f"{_MARK}:{ring.newest}:{ring.fernet.encrypt(plain).decode()}"


def unseal(sealed: str, *, bound_to: tuple[str | int, ...]) -> Any:
    """The value; raises Unreadable when no key opens it, or when it was sealed for something else."""
    mark, _, rest = sealed.partition(":")
    token = rest.partition(":")[2]
    if mark != _MARK or not token:
        raise Unreadable("this is not a sealed text")
    try:
        ring = keyring()
    except ValueError as error:
        # Not the fault of the text: who reads this should not enter a secret anew that nothing is wrong with.
        raise Unreadable(str(error).partition(". ")[0]) from None
    try:
        plain = json.loads(ring.fernet.decrypt(token.encode()))
    except (InvalidToken, ValueError):
        # Without its cause: tracebacks are logged.
        raise Unreadable("no key of ASSAY_VAULT_KEYS opens it") from None
    if plain["for"] != list(bound_to):
        raise Unreadable("it was sealed for something else")
    return plain["value"]


def sealed_prefix() -> str:
    """What texts that the newest key sealed begin with."""
    return f"{_MARK}:{keyring().newest}:"


def is_sealed(text: str) -> bool:
    return text.startswith(f"{_MARK}:")
