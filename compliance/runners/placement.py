"""What work may be pinned to, and what is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.db import connection

from compliance.jobs.options import hindrance
from compliance.registry.models import Pin, Runner, RunnerState
from compliance.tenancy.errors import Refused


def lock_pin(organization_id: str, pin: Pin) -> None:
    """Keep the runners that a pin names from being deleted until the transaction ends; in the organization's scope.

    Raises Refused when there is none.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id FROM runners WHERE organization_id = %s AND state <> 'deleted'"
            " AND (id = %s::uuid OR (%s <> '' AND pool = %s)) ORDER BY id FOR KEY SHARE",
            [organization_id, pin.runner_id, pin.pool, pin.pool],
        )
        if cursor.fetchone() is None:
            raise Refused(
                "There is no such private runner. Choose another."
                if pin.runner_id
                else f"There is no private runner in the pool “{pin.pool}”. Choose another."
            )


def why_waiting(pin: Pin, engine: str, runners: Sequence[Runner]) -> str:
    """Why none of these takes what is pinned so and needs the engine, such as “City box lacks the engine adcp.”

    runners: those that the pin names. "" when one can, as far as is known; being offline is no reason here.
    """
    why = hindrance(pin, engine, [runner for runner in runners if runner.state != RunnerState.DELETED])
    return f"{why}." if why else ""


def pinned_monitors(runner_id: UUID) -> list[str]:
    """The names of the monitors that are pinned to this runner, archived ones left out. Needs the scope."""
    return _names("runner_id = %s", [runner_id])


def monitors_of_last(runner: Runner) -> list[str]:
    """The names of those that are pinned to the runner's pool, if it is the last one there; disabled ones count."""
    if not runner.pool or Runner.objects.beside(runner).exists():
        return []
    return _names("organization_id = %s AND pool = %s", [runner.organization_id, runner.pool])


def _names(which: str, parameters: list[Any]) -> list[str]:
    # The table of a room that knows this one: read here by name, because a runner must not go while it has pins.
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT name FROM monitors WHERE {which} AND state <> 'archived' ORDER BY lower(name), id",  # noqa: S608 - our own words
            parameters,
        )
        return [row[0] for row in cursor.fetchall()]
