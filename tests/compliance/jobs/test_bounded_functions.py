"""The owner's functions that the app role may call: evidence partitions and waiting work, within bounds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from compliance.jobs.actions import request_owner_test
from compliance.jobs.dispatch import pool_key
from compliance.models import AgentContext, Job, Organization, User
from compliance.runners.waiting import work_is_left
from compliance.runs.recording import keep_evidence_partitions
from compliance.tenancy.actions import create_organization
from compliance.tenancy.scope import Actor, system_scope
from tests.conftest import AGENT_URL, make_context, make_user


def ask(statement: str, parameters: list[Any]) -> list[tuple[Any, ...]]:
    """As the app role, in no scope."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchall()


@pytest.fixture
def waiting(organization: Organization, context: AgentContext, alice: User, monkeypatch: pytest.MonkeyPatch) -> Job:
    """A job that nobody has picked up for two seconds."""
    monkeypatch.setattr("compliance.celery.app.send_task", lambda name, args: None)
    job, _ = request_owner_test(organization=organization, context_id=context.pk, by=alice)
    with system_scope(by=Actor.system("tests"), reason="arrange"):
        Job.objects.update(dispatched_at=timezone.now() - timedelta(seconds=2))
    return job


STALE = "SELECT id, organization_id FROM stale_jobs(%s::interval, %s)"


@pytest.mark.parametrize(
    ("after", "at_most", "says"),
    [
        ("-1 day", 1, "dispatch_after must be 1 second or more"),
        ("0", 1, "dispatch_after must be 1 second or more"),
        ("999 milliseconds", 1, "dispatch_after must be 1 second or more"),
        (None, 1, "dispatch_after must be 1 second or more"),
        ("1 minute", -1, "at_most must be 1 to 1000"),
        ("1 minute", 0, "at_most must be 1 to 1000"),
        ("1 minute", 1001, "at_most must be 1 to 1000"),
        ("1 minute", None, "at_most must be 1 to 1000"),
    ],
)
def test_waiting_work_is_not_listed_by_a_question_without_bounds(
    waiting: Job, after: str | None, at_most: int | None, says: str
) -> None:  # I1: the only look past the policies that the app role has
    with pytest.raises(DatabaseError, match=says):
        ask(STALE, [after, at_most])


def test_waiting_work_is_listed_by_its_keys_alone(waiting: Job) -> None:
    assert ask(STALE, ["1 second", 1000]) == [(waiting.pk, waiting.organization_id)]
    assert ask(STALE, ["1 minute", 1000]) == []


def test_work_for_a_waiting_runner_is_found_however_much_waits_for_others(
    committed_db: None, superuser: psycopg.Connection[Any]
) -> None:  # L13
    """Who waits is named in the question: an answer about everybody would be cut, and always at the same place."""
    alice = make_user("alice@example.org", "Alice Owner")
    organization = create_organization(name="Alpha", by=alice)
    make_context(organization)
    count = 10_500
    superuser.execute("SET session_replication_role = replica")  # whether there is such a pool is looked at one by one
    superuser.execute(
        "INSERT INTO compliance_jobs (id, organization_id, agent_url, triggered_by, actor_kind, actor_id,"
        " actor_name, suite_version_id, dry_run, options, state, created_at, dispatched_at, attempt, progress,"
        " expires_at, executor_kind, pool)"
        " SELECT gen_random_uuid(), %s, %s, 'monitor', 'system', 'tests', 'tests', v.id, false, '{}', 'queued', now(),"
        " now(), 0, '{}', now() + interval '1 hour', 'private', 'pool-' || n"
        " FROM generate_series(1, %s) n, (SELECT min(id) AS id FROM suite_versions) v",
        [organization.id, AGENT_URL, count],
    )
    superuser.execute("SET session_replication_role = origin")
    keys = [pool_key(organization.id, f"pool-{number}") for number in range(1, count + 1)]
    found = ask("SELECT key FROM waiting_work(%s)", [[*keys, "runner:nobody", pool_key("org_other", "pool-1")]])
    assert sorted(key for (key,) in found) == sorted(keys)
    assert [work_is_left(key) for key in keys[:: count // 20]] == [True] * len(keys[:: count // 20])
    assert not work_is_left("pool:org_other:pool-1")


@pytest.mark.parametrize("months", [2, 1, 0, -1, 1201, None])
def test_evidence_is_not_dropped_before_its_time_whoever_asks(db: None, months: int | None) -> None:
    with pytest.raises(DatabaseError, match="keep_months must be 3 to 1200"):
        ask("SELECT drop_expired_evidence(%s)", [months])


@pytest.mark.parametrize("months", [-1, 25, None])
def test_partitions_are_not_made_without_bounds(db: None, months: int | None) -> None:
    with pytest.raises(DatabaseError):
        ask("SELECT ensure_evidence_partitions(%s)", [months])


def month(ago: int) -> datetime:
    """The first instant of the month that was so many months ago."""
    now = datetime.now(UTC)
    years, index = divmod(now.year * 12 + now.month - 1 - ago, 12)
    return datetime(years, index + 1, 1, tzinfo=UTC)


def name_of(start: datetime) -> str:
    return f"step_evidence_y{start:%Y}m{start:%m}"


def partitions(superuser: psycopg.Connection[Any]) -> set[str]:
    rows = superuser.execute(
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'step_evidence'::regclass"
    )
    return {row[0] for row in rows}


def test_months_that_are_over_long_enough_are_dropped_and_no_others(
    db: None, superuser: psycopg.Connection[Any]
) -> None:
    with superuser.transaction(force_rollback=True):
        superuser.execute("SET LOCAL ROLE assay_owner")
        for ago in range(1, 7):
            superuser.execute(
                f"CREATE TABLE {name_of(month(ago))} PARTITION OF step_evidence"
                f" FOR VALUES FROM ('{month(ago)}') TO ('{month(ago - 1)}')"
            )
        superuser.execute("SET LOCAL ROLE assay_app")
        before = partitions(superuser)
        assert superuser.execute("SELECT drop_expired_evidence(3)").fetchone() == (3,)
        assert before - partitions(superuser) == {name_of(month(ago)) for ago in (4, 5, 6)}


def test_a_partition_that_is_made_is_as_closed_as_the_first_ones(
    db: None, superuser: psycopg.Connection[Any]
) -> None:  # I1
    with superuser.transaction(force_rollback=True):
        superuser.execute("SET LOCAL ROLE assay_app")
        before = partitions(superuser)
        assert superuser.execute("SELECT ensure_evidence_partitions(12)").fetchone() == (10,)
        made = partitions(superuser) - before
        assert name_of(month(-12)) in made
        superuser.execute("RESET ROLE")
        for name in made:
            row = superuser.execute(
                "SELECT relrowsecurity AND relforcerowsecurity, relowner::regrole::text, r.rights, t.triggers"
                " FROM pg_class,"
                " (SELECT count(*) AS rights FROM pg_class c, aclexplode(c.relacl) a"
                "  WHERE c.oid = %(name)s::regclass AND a.grantee <> c.relowner) r,"
                " (SELECT array_agg(tgname::text) AS triggers FROM pg_trigger"
                "  WHERE tgrelid = %(name)s::regclass AND tgenabled = 'O') t WHERE oid = %(name)s::regclass",
                {"name": name},
            ).fetchone()
            assert row == (True, "assay_owner", 0, ["step_evidence_insert_only_rows"]), name


def test_the_job_keeps_this_month_and_the_next_two(db: None, superuser: psycopg.Connection[Any]) -> None:
    assert keep_evidence_partitions() == (0, 0), "the migrations have made them"
    assert {name_of(month(ahead)) for ahead in (0, -1, -2)} <= partitions(superuser)
