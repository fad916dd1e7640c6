"""Rotation: everything sealed with an older key is sealed anew with the newest, while the system runs (V6)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from allauth.mfa.models import Authenticator
from django.db import models, transaction
from django.views.decorators.debug import sensitive_variables

from compliance.tenancy.scope import Actor, organization_scope, system_scope
from compliance.vault.encryption import SECOND_FACTOR, Unreadable, is_sealed, seal, sealed_prefix, unseal
from compliance.vault.models import Credential, CredentialSecret, associated_data


@dataclass(slots=True)
class Rotation:
    """How far it is."""

    resealed: int = 0
    unreadable: int = 0  # no key opens them: they must be entered anew


def rotate(*, by: Actor, batch: int = 100, on_progress: Callable[[Rotation], None] = lambda _: None) -> Rotation:
    """Seal with the newest key whatever an older one sealed, `batch` rows in a transaction.

    Any number of these may run at once, and be stopped at any time: what is left is found by the next one. Rows
    that somebody holds are passed by first, and waited for in the end. Raises Unreadable without any key.
    """
    sealed_prefix()
    done = Rotation()
    for organization_id in _organizations(by):
        secrets = CredentialSecret.objects.filter(organization_id=organization_id)
        stale = secrets.exclude(sealed__startswith=sealed_prefix())
        _walk(stale, _reseal_secret, batch, done, on_progress, scope=partial(organization_scope, organization_id))
    factors = Authenticator.objects.filter(type__in=[Authenticator.Type.TOTP, Authenticator.Type.RECOVERY_CODES])
    _walk(factors, _reseal_factor, batch, done, on_progress, scope=transaction.atomic)
    return done


def _organizations(by: Actor) -> list[str]:
    with system_scope(by=by, reason="rotate the keys of credentials", what="which organizations have any"):
        kept = Credential.objects.filter(deleted_at=None)
        return list(kept.order_by("organization_id").values_list("organization_id", flat=True).distinct())


def _walk(
    rows: models.QuerySet[Any],
    reseal: Callable[[Any], bool],
    batch: int,
    done: Rotation,
    on_progress: Callable[[Rotation], None],
    *,
    scope: Callable[[], Any],
) -> None:
    for wait in (False, True):
        after = None
        while True:
            with scope():
                page = rows.filter(pk__gt=after) if after is not None else rows
                found = list(page.order_by("pk").select_for_update(skip_locked=not wait)[:batch])
                for row in found:
                    try:
                        done.resealed += reseal(row)
                    except Unreadable:
                        done.unreadable += wait  # counted once: the second round comes by again
            if not found:
                break
            after = found[-1].pk
            on_progress(done)


@sensitive_variables()
def _reseal_secret(row: CredentialSecret) -> bool:
    bound_to = associated_data(row.pk, row.organization_id, row.version, "secret")
    row.sealed = seal(unseal(row.sealed, bound_to=bound_to), bound_to=bound_to)
    # A token is soon bought anew.
    row.sealed_token, row.token_expires_at = "", None
    row.save(update_fields=["sealed", "sealed_token", "token_expires_at"])
    return True


@sensitive_variables()
def _reseal_factor(row: Authenticator) -> bool:
    changed = {name: _anew(value) for name, value in row.data.items() if name in ("secret", "seed", "migrated_codes")}
    if all(row.data[name] == value for name, value in changed.items()):
        return False
    row.data.update(changed)
    row.save(update_fields=["data"])
    return True


@sensitive_variables()
def _anew(value: Any) -> Any:
    if isinstance(value, list):
        return [_anew(item) for item in value]
    text = str(value)
    if text.startswith(sealed_prefix()):
        return text
    # What is not sealed is from before seeds were.
    plain = unseal(text, bound_to=SECOND_FACTOR) if is_sealed(text) else text
    return seal(plain, bound_to=SECOND_FACTOR)
