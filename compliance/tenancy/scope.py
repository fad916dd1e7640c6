"""Scopes: what a database connection may see, for the length of one transaction.

The policies of the models (rls.py) read the settings named here. A connection with no scope
sees zero rows of every tenant table; a scope ends with its block, whatever happens in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from django.db import connection, transaction

ORGANIZATION_SETTING = "app.organization_id"
USER_SETTING = "app.user_id"
PLATFORM_SETTING = "app.platform"
STAFF_ROLE = "assay_staff"


class ScopeError(RuntimeError):
    """A scope was opened inside a scope that it contradicts."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who does something, as the record keeps it: the name is frozen as it was at the time."""

    kind: str  # "user", "api_key", "system"
    id: str
    name: str

    @classmethod
    def system(cls, name: str) -> Actor:
        """A job that runs by itself, such as the heartbeat."""
        return cls("system", name, name)

    def as_fields(self) -> dict[str, str]:
        """As the models keep it: actor_kind, actor_id and actor_name."""
        return {"actor_kind": self.kind, "actor_id": self.id, "actor_name": self.name[:254]}


@dataclass(frozen=True, slots=True)
class _Scope:
    organization_id: str = ""
    user_id: str = ""
    platform: str = ""
    staff: bool = False


_NO_SCOPE = _Scope()


def _current() -> _Scope:
    # A scope is transaction-local: outside a transaction there is none, even if a block was left by a lost connection.
    if not connection.in_atomic_block:
        return _NO_SCOPE
    scope: _Scope = getattr(connection, "assay_scope", _NO_SCOPE)
    return scope


def _apply(scope: _Scope) -> None:
    # Every setting is set each time, so that nothing of an outer scope shines through.
    settings = {
        ORGANIZATION_SETTING: scope.organization_id,
        USER_SETTING: scope.user_id,
        PLATFORM_SETTING: scope.platform,
        "role": STAFF_ROLE if scope.staff else "none",
    }
    statement = f"SELECT {', '.join(['set_config(%s, %s, true)'] * len(settings))}"
    with connection.cursor() as cursor:
        cursor.execute(statement, [part for setting in settings.items() for part in setting])
    connection.assay_scope = scope  # type: ignore[attr-defined]


@contextmanager
def _scoped(scope: _Scope) -> Iterator[None]:
    outer = _current()
    try:
        with transaction.atomic():
            _apply(scope)
            yield
    finally:
        # First, because the statement below may fail: a scope that is left must not be found by the next transaction.
        connection.assay_scope = outer if connection.in_atomic_block else _NO_SCOPE  # type: ignore[attr-defined]
        # A transaction that can only roll back takes the settings with it.
        usable = connection.connection is not None and not connection.connection.closed
        if connection.in_atomic_block and usable and not connection.needs_rollback:
            _apply(outer)


@contextmanager
def organization_scope(organization_id: str) -> Iterator[None]:
    """See and write one organization's rows, in one transaction.

    organization_id: the organization's key; '' is refused, because it would mean "none".
    Raises ScopeError inside the scope of another organization: code that crosses
    organizations must say so with system_scope.
    """
    if not organization_id:
        raise ScopeError("organization_scope needs an organization's key")
    outer = _current()
    if outer.organization_id not in ("", organization_id):
        raise ScopeError("a scope of another organization is open")
    with _scoped(_Scope(organization_id=organization_id, user_id=outer.user_id)):
        yield


@contextmanager
def user_scope(user_id: int) -> Iterator[None]:
    """See one user's own memberships and their organizations, to choose among them."""
    with _scoped(_Scope(user_id=str(user_id))):
        yield


@contextmanager
def platform_scope() -> Iterator[None]:
    """See and write the rows with no organization: heartbeats, their jobs, the agents they visit."""
    if _current().organization_id:
        raise ScopeError("the scope of an organization is open")
    with _scoped(_Scope(platform="on")):
        yield


@contextmanager
def scope_of(organization_id: str | None) -> Iterator[None]:
    """The scope of this organization, or of the platform when there is none."""
    with organization_scope(organization_id) if organization_id else platform_scope():
        yield


@contextmanager
def system_scope(*, by: Actor, reason: str, what: str = "") -> Iterator[None]:
    """See and write across organizations, on record (I7).

    by: who; reason: why, in words; what: what was opened, such as a path.
    The record is written first, in the same transaction: without it nothing is read.
    """
    from compliance.tenancy.models import SystemScopeUse

    if not reason.strip():
        raise ScopeError("system_scope needs a reason")
    with _scoped(_Scope(staff=True)):
        SystemScopeUse.objects.create(**by.as_fields(), reason=reason[:300], what=what[:500])
        yield
