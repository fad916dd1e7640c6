"""Decisions are kept for a time, and in no other way removed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.db import DatabaseError, connection, transaction

from compliance.database import database_time
from compliance.models import Monitor, MonitorDecision, Organization
from compliance.monitors.decisions import forget_old_decisions
from compliance.monitors.models import Outcome
from compliance.monitors.tasks import forget_decisions
from compliance.tenancy.scope import organization_scope
from tests.compliance.monitors.conftest import decisions_of


def decide(monitor: Monitor, *ages_in_days: float) -> None:
    now = database_time()
    with organization_scope(monitor.organization_id):
        MonitorDecision.objects.bulk_create(
            monitor.decision(Outcome.COOLDOWN, "Too soon.", at=now - timedelta(days=age)) for age in ages_in_days
        )


def test_what_is_older_than_the_setting_goes_in_batches(
    organization: Organization, monitor: Monitor, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.DECISION_RETENTION_DAYS = 30
    monkeypatch.setattr("compliance.database.BATCH", 2)
    decide(monitor, 1, 29.9, 30.1, 40, 50, 60, 70)
    assert forget_decisions() == 5
    assert len(decisions_of(organization)) == 2
    assert forget_old_decisions() == 0


def test_it_ends_in_time_however_much_there_is(
    organization: Organization, monitor: Monitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compliance.database.BATCH", 1)
    monkeypatch.setattr("compliance.database.SECONDS", 0.0)
    decide(monitor, 400, 401)
    assert forget_old_decisions() == 0
    assert len(decisions_of(organization)) == 2


@pytest.mark.parametrize(("days", "rows"), [(6, 1), (3651, 1), (None, 1), (90, 0), (90, 10_001), (90, None)])
def test_the_app_cannot_ask_for_more_than_was_decided(db: None, days: int | None, rows: int | None) -> None:
    with pytest.raises(DatabaseError, match="must be"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT forget_decisions(%s::int, %s::int)", [days, rows])


def test_nobody_deletes_otherwise_not_even_with_the_setting_of_the_function(
    organization: Organization, monitor: Monitor, superuser: psycopg.Connection[Any]
) -> None:
    decide(monitor, 400)
    for statement in ("DELETE FROM monitor_decisions", "UPDATE monitor_decisions SET reason = ''"):
        with (
            pytest.raises(DatabaseError, match="permission denied"),
            organization_scope(organization.id),
            connection.cursor() as cursor,
        ):
            cursor.execute("SELECT set_config('app.forgetting', 'on', true)")
            cursor.execute(statement)
    with pytest.raises(psycopg.Error, match="insert-only"):
        superuser.execute("DELETE FROM monitor_decisions")


def test_the_function_leaves_no_setting_behind(organization: Organization, monitor: Monitor) -> None:
    decide(monitor, 400)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT forget_decisions(90, 10)")
        cursor.execute("SELECT coalesce(current_setting('app.forgetting', true), '')")
        assert cursor.fetchone() == ("",)
