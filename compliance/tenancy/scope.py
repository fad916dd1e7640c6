"""Scopes: what a database connection may see, for the length of one transaction.

The policies of the models (rls.py) read the settings named here. A connection with no scope
sees zero rows of every tenant table; a scope ends with its block, whatever happens in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from django.db import connection, transaction

from compliance.postgresql.trips import Row, Statement, ask

ORGANIZATION_SETTING = "app.organization_id"
USER_SETTING = "app.user_id"
PLATFORM_SETTING = "app.platform"
STAFF_ROLE = "assay_staff"
_Answer = TypeVar("_Answer")


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


_SET = (
    "SELECT set_config(%s, %s, true), set_config(%s, %s, true), set_config(%s, %s, true), set_config('role', %s, true)"
)


def _apply(scope: _Scope, statement: str = _SET, then: Sequence[Statement] = ()) -> list[list[Row]]:
    # One round trip, with the transaction's beginning, and with what is asked then. Every setting is set each time, so
    # that nothing of an outer scope shines through.
    parameters = [
        ORGANIZATION_SETTING,
        scope.organization_id,
        USER_SETTING,
        scope.user_id,
        PLATFORM_SETTING,
        scope.platform,
        STAFF_ROLE if scope.staff else "none",
    ]
    connection.ensure_connection()
    rows = ask([(statement, parameters), *then])
    connection.assay_scope = scope  # type: ignore[attr-defined]
    return rows


def _apply_and_read(scope: _Scope, value: str) -> Any:
    """Apply the scope and read a value in it, in one round trip. value: SQL that depends on opened.organization_id.

    The database sets the settings before it has that key, and can answer nothing that asks for it earlier; if it
    did, the policies would let it see nothing.
    """
    return _apply(scope, _SET_AND_READ.format(value=value))[0][0][0]


_SET_AND_READ = """
    SELECT {value} FROM (
        SELECT set_config(%s, %s, true) AS organization_id, set_config(%s, %s, true), set_config(%s, %s, true),
            set_config('role', %s, true) OFFSET 0
    ) AS opened (organization_id, user_id, platform, role)
"""


@contextmanager
def _scoped(scope: _Scope, then: Sequence[Statement] = ()) -> Iterator[list[list[Row]]]:
    outer = _current()
    try:
        with transaction.atomic():
            yield _apply(scope, then=then)[1:]
    finally:
        if not connection.in_atomic_block:
            connection.assay_scope = _NO_SCOPE  # type: ignore[attr-defined]
        elif connection.needs_rollback or connection.connection is None or connection.connection.closed:
            # The surrounding transaction can only end; its end takes the settings with it.
            connection.assay_scope = outer  # type: ignore[attr-defined]
        else:
            _apply(outer)


@contextmanager
def organization_scope(organization_id: str, *, then: Sequence[Statement] = ()) -> Iterator[list[list[Row]]]:
    """See and write one organization's rows, in one transaction.

    organization_id: the organization's key; '' is refused, because it would mean "none".
    then: statements, each with its parameters, that are asked one after the other on the way in, without a trip to
    the database for each. Yields the rows of each.
    Raises ScopeError inside the scope of another organization: code that crosses
    organizations must say so with system_scope.
    """
    if not organization_id:
        raise ScopeError("organization_scope needs an organization's key")
    outer = _current()
    if outer.organization_id not in ("", organization_id):
        raise ScopeError("a scope of another organization is open")
    with _scoped(_Scope(organization_id=organization_id, user_id=outer.user_id), then) as rows:
        yield rows


@contextmanager
def user_scope(user_id: int) -> Iterator[None]:
    """See one user's own memberships and their organizations, to choose among them."""
    with _scoped(_Scope(user_id=str(user_id))):
        yield


@contextmanager
def member_scope(
    user_id: int, *, ask: Callable[[], _Answer], choose: Callable[[_Answer], str], value: str = "NULL"
) -> Iterator[tuple[_Answer, Any]]:
    """See one user's memberships, then the rows of the organization that is chosen from them; in one transaction.

    ask: reads the memberships. choose: the organization's key out of its answer; what it raises ends the scope.
    value: SQL, read on the way into the organization, whose key is opened.organization_id in it.
    Yields the answer and the value. Every page begins so; a transaction for each, and a statement for the value,
    would cost it three more trips to the database.
    """
    if _current() != _NO_SCOPE:
        raise ScopeError("a scope is open")
    with _scoped(_Scope(user_id=str(user_id))):
        answer = ask()
        organization_id = choose(answer)
        if not organization_id:
            raise ScopeError("member_scope needs an organization's key")
        # And the user's rows are out of sight again.
        yield answer, _apply_and_read(_Scope(organization_id=organization_id), value)


@contextmanager
def platform_scope() -> Iterator[None]:
    """See and write the rows with no organization: heartbeats, their requests, the agents they visit."""
    if _current().organization_id:
        raise ScopeError("the scope of an organization is open")
    with _scoped(_Scope(platform="on")):
        yield


@contextmanager
def system_scope(*, by: Actor, reason: str, what: str = "") -> Iterator[None]:
    """See and write across organizations, on record (I7).

    by: who; reason: why, in words; what: what was opened, such as a path.
    The record is written first, in the same transaction: without it there is no look.
    """
    from compliance.tenancy.models import SystemScopeUse

    if not reason.strip():
        raise ScopeError("system_scope needs a reason")
    with _scoped(_Scope(staff=True)):
        SystemScopeUse.objects.create(
            actor_kind=by.kind, actor_id=by.id, actor_name=by.name, reason=reason[:300], what=what[:500]
        )
        yield
