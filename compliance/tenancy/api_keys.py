"""API keys: what a program shows instead of signing in. An organization's own, or that of one of its runners."""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.utils import timezone

from compliance.database import call
from compliance.tenancy.models import ApiKey, User
from compliance.tenancy.scope import Actor, organization_scope

_PUBLIC = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SHAPE = re.compile(r"as[kr]_[0-9A-Za-z]{8}_[0-9A-Za-z_-]{43}")
_USE_NOTED_EVERY = timedelta(minutes=1)
_USE_OF_RUNNER_NOTED_EVERY = timedelta(hours=1)  # when a runner was heard of last, its own row says


def new_token(kind: str) -> tuple[str, str]:
    """A token and its public part. kind: "ask" for an organization's key, "asr" for a runner's."""
    prefix = "".join(secrets.choice(_PUBLIC) for _ in range(8))
    return f"{kind}_{prefix}_{secrets.token_urlsafe(32)}", prefix


def hash_of(token: str) -> str:
    """What is stored of a token. 256 random bits cannot be guessed from it, so it need not be slow."""
    return hashlib.sha256(token.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class KeyActor:
    """A valid key at work: who does what a call of the API does."""

    key_id: UUID
    organization_id: str
    name: str
    scopes: frozenset[str]
    runner_id: UUID | None = None

    def as_actor(self) -> Actor:
        """The key as the record keeps it."""
        return Actor("api_key", str(self.key_id), self.name)

    def get_full_name(self) -> str:
        """What stands where a person's name would."""
        return f"API key “{self.name}”"


Principal = User | KeyActor  # who asks an action for something: a person on a page, or a key in the API


class BadKey(Exception):
    """The token opens nothing. `why`: "unknown", "expired" or "revoked", the last two only for one that was right."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


def actor_of(token: str) -> KeyActor:
    """The key whose token this is; raises BadKey. Needs no scope: whose it is, is not known before.

    That it was used is written down at most once a minute, of a runner's key once an hour, in a transaction of its
    own.
    """
    return _found(token)[0]


def _found(token: str) -> tuple[KeyActor, timedelta]:
    """The key, and for how long it will work unless it is revoked."""
    row = None
    if _SHAPE.fullmatch(token):
        row = next(iter(call("find_api_key", hash_of(token))), None)
    if row is None:
        raise BadKey("unknown")
    key_id, organization_id, name, scopes, runner_id, expires_at, revoked_at, last_used_at = row
    now = timezone.now()
    if revoked_at is not None:
        raise BadKey("revoked")
    if expires_at <= now:
        raise BadKey("expired")
    every = _USE_NOTED_EVERY if runner_id is None else _USE_OF_RUNNER_NOTED_EVERY
    if last_used_at is None or now - last_used_at >= every:
        _note_use(organization_id, key_id, now)
    return KeyActor(key_id, organization_id, name, frozenset(scopes), runner_id), expires_at - now


class KnownKeys:
    """Keys of private runners, remembered by the hashes of their tokens, so that not each call asks for its key.

    A key is never changed, only revoked, or deleted with its runner: whoever takes it from here asks in the
    transaction that does something for it whether the key is still valid, and says when it is not.
    """

    def __init__(self, *, seconds: float, at_most: int) -> None:
        self._seconds, self._at_most = seconds, at_most
        self._known: dict[str, tuple[float, KeyActor]] = {}

    def actor_of(self, token: str) -> KeyActor:
        """As actor_of, but that the key may have been revoked meanwhile."""
        name = hash_of(token)
        until, actor = self._known.get(name, (0.0, None))
        now = time.monotonic()
        if actor is not None and now < until:
            return actor
        actor, works_for = _found(token)
        if actor.runner_id is None:
            return actor
        if len(self._known) >= self._at_most:
            self._known.clear()
        self._known[name] = now + min(self._seconds, works_for.total_seconds()), actor
        return actor

    def forget(self, token: str) -> None:
        """It does not work any more."""
        self._known.pop(hash_of(token), None)


# Longer than a runner waits for work, so that a poll finds the key of the one before it.
known_keys = KnownKeys(seconds=150, at_most=20_000)


def _note_use(organization_id: str, key_id: UUID, now: datetime) -> None:
    # Who holds the row is noting it too, or is revoking it: nobody waits for that.
    with organization_scope(organization_id):
        key = ApiKey.objects.select_for_update(no_key=True, skip_locked=True, of=("self",)).filter(pk=key_id).first()
        if key is not None:
            key.last_used_at = now
            key.save(update_fields=["last_used_at"])
