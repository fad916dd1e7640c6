"""Deletes old deliveries: they are insert-only for everybody but this function, and even it sees only what is old."""

from __future__ import annotations

from compliance.tenancy.database_roles import APP
from compliance.tenancy.schema import Function

FORGET_DELIVERIES = Function(
    name="forget_webhook_deliveries",
    arguments="keep_days integer, at_most integer",
    returns="integer",
    as_owner=True,
    callers=APP,
)
