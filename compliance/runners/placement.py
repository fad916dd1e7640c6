"""Where work may be placed, and what is placed there."""

from __future__ import annotations

from collections.abc import Callable

from compliance.registry.models import Placement, Runner
from compliance.tenancy.errors import Refused

Users = Callable[[str, Placement], list[str]]
_users: list[Users] = []


def runners_are_used_by(users: Users) -> None:
    """Ask this, too, for the names of what is placed on a runner or a pool of an organization: it must not go then."""
    if users not in _users:
        _users.append(users)


def lock_placement(organization_id: str, placement: Placement) -> None:
    """Keep a placement's runners from being deleted until the transaction ends. Needs the organization's scope.

    Raises Refused when there is none.
    """
    # A lock that any number of monitors share: Django has no such.
    named = Runner.objects.raw(
        "SELECT * FROM runners WHERE organization_id = %s AND state <> 'deleted'"
        " AND (id = %s::uuid OR (%s <> '' AND pool = %s)) ORDER BY id FOR KEY SHARE",
        [organization_id, placement.runner_id, placement.pool, placement.pool],
    )
    if not list(named):
        raise Refused(
            "There is no such private runner. Choose another."
            if placement.runner_id
            else f"There is no private runner in the pool “{placement.pool}”. Choose another."
        )


def monitors_placed_on(runner: Runner) -> list[str]:
    """The names of the monitors that are placed on this very runner. Needs the scope."""
    return _users_of(runner.organization_id, Placement(runner_id=runner.pk))


def monitors_of_last(runner: Runner) -> list[str]:
    """The names of those that are placed on the runner's pool, if it is the last one there; disabled ones count."""
    if not runner.pool or Runner.objects.others_in_pool(runner).exists():
        return []
    return _users_of(runner.organization_id, Placement(pool=runner.pool))


def _users_of(organization_id: str, placement: Placement) -> list[str]:
    return [name for users in _users for name in users(organization_id, placement)]
