"""What work may be pinned to."""

from __future__ import annotations

from django.db import connection

from compliance.runs.requests import Pin
from compliance.tenancy.errors import Refused


def lock_pin(organization_id: str, pin: Pin) -> None:
    """Keep the runners that a pin names from being deleted until the transaction ends; in the organization's scope.

    Raises Refused when there is none.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id FROM runners WHERE organization_id = %s AND state <> 'deleted'"
            " AND (id = %s::uuid OR (%s <> '' AND pool = %s)) ORDER BY id FOR SHARE",
            [organization_id, pin.runner_id, pin.pool, pin.pool],
        )
        if cursor.fetchone() is None:
            raise Refused(
                "There is no such private runner. Choose another."
                if pin.runner_id
                else f"There is no private runner in the pool “{pin.pool}”. Choose another."
            )
