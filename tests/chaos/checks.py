"""What must hold after a chaos run, asked of the database with a superuser's eyes; each check gives what breaks it.

The tables say how things ended, the witness how they came to it (tests/chaos/witness.py), and the relays' books what
passed between runners and server.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

from compliance.monitors.schedule import Schedule
from tests.chaos.relay import Answered, Books, Leased
from tests.chaos.witness import Witness

Row = dict[str, Any]
PEOPLE = "people.%"  # the application_name of what this program itself does in the database

# Each occurrence that a monitor ever had as its next time, and how it came to leave it.
_LEFT = """
    SELECT e.id, e.xid, e.app,
        -- What people move was ahead when they began, and may come due before they have ended.
        CASE WHEN e.app LIKE 'people.%%' THEN e.began ELSE e.at END AS at, e.key::uuid AS monitor_id,
        e.after ->> 'name' AS name,
        (e.before ->> 'next_run_at')::timestamptz AS occurrence,
        (e.after ->> 'next_run_at')::timestamptz AS upcoming, e.after ->> 'state' AS state
    FROM witness.events e
    WHERE e.source = 'monitors' AND e.before ->> 'next_run_at' IS NOT NULL
        AND e.before ->> 'next_run_at' IS DISTINCT FROM e.after ->> 'next_run_at'
"""
# What waits for capacity is decided about again, and says so (Q1).
_WAITS = "(d.outcome IN ('concurrency', 'cooldown', 'budget') AND d.reason LIKE '%%tried again.')"
# Decisions that say why an occurrence had no run. A deferred one comes again; stopped comes beside a run.
_REFUSED = f"d.outcome NOT IN ('allowed', 'deferred', 'stopped') AND NOT {_WAITS}"


def occurrences_answered(witness: Witness, books: Books) -> list[Row]:
    """Every occurrence that came due has one run, or one visible reason why it has none (L1)."""
    return witness.rows(
        f"""
        WITH left_ AS ({_LEFT}), due AS (
            SELECT DISTINCT ON (monitor_id, occurrence) * FROM left_ WHERE occurrence <= at
            ORDER BY monitor_id, occurrence, id DESC
        ), told AS (
            SELECT due.monitor_id, due.name, due.occurrence, due.app, due.state,
                ARRAY(SELECT r.id FROM compliance_jobs q JOIN agent_compliance_runs r ON r.job_id = q.id
                    WHERE q.monitor_id = due.monitor_id AND q.scheduled_for = due.occurrence) AS runs,
                ARRAY(SELECT d.outcome || ': ' || d.reason FROM monitor_decisions d
                    WHERE d.monitor_id = due.monitor_id AND d.scheduled_for = due.occurrence AND {_REFUSED}) AS reasons,
                ARRAY(SELECT q.id || ' ' || q.state FROM compliance_jobs q
                    WHERE q.monitor_id = due.monitor_id AND q.scheduled_for = due.occurrence) AS jobs
            FROM due
        )
        SELECT * FROM told
        WHERE cardinality(runs) > 1 OR (cardinality(runs) = 1 AND cardinality(reasons) > 0)
            OR cardinality(reasons) > 1
            -- Somebody who pauses a monitor drops what is due, and its page says who it was.
            OR (cardinality(runs) + cardinality(reasons) = 0 AND NOT (state = 'paused' AND app LIKE %(people)s))
        """,
        people=PEOPLE,
    )


def occurrences_left_with_their_end(witness: Witness, books: Books) -> list[Row]:
    """A schedule leaves an occurrence in the transaction that records its run or its refusal (L8), and not before."""
    return witness.rows(
        f"""
        WITH left_ AS ({_LEFT})
        SELECT l.* FROM left_ l WHERE l.app NOT LIKE %(people)s AND (
            (l.occurrence > l.at AND NOT EXISTS (SELECT FROM witness.events d WHERE d.xid = l.xid
                AND d.source = 'monitor_decisions' AND (d.after ->> 'monitor_id')::uuid = l.monitor_id
                AND d.after ->> 'outcome' = 'stopped'))
            OR (l.occurrence <= l.at
                AND NOT EXISTS (SELECT FROM witness.events r JOIN compliance_jobs q
                    ON q.id = (r.after ->> 'job_id')::uuid
                    WHERE r.xid = l.xid AND r.source = 'agent_compliance_runs'
                        AND q.monitor_id = l.monitor_id AND q.scheduled_for = l.occurrence)
                AND NOT EXISTS (SELECT FROM witness.events d WHERE d.xid = l.xid AND d.source = 'monitor_decisions'
                    AND (d.after ->> 'monitor_id')::uuid = l.monitor_id
                    AND (d.after ->> 'scheduled_for')::timestamptz = l.occurrence)))
        """,
        people=PEOPLE,
    )


def schedules_go_on(witness: Witness, books: Books) -> list[Row]:
    """A schedule goes to a time of its own, later than now and than the one that it leaves (L19)."""
    rows = witness.rows(
        """
        SELECT e.at, e.app, e.key AS monitor_id, e.before ->> 'next_run_at' AS occurrence,
            (e.after ->> 'next_run_at')::timestamptz AS upcoming, e.after ->> 'cron' AS cron,
            e.after ->> 'timezone' AS timezone, (e.after ->> 'anchor')::timestamptz AS anchor,
            (e.after ->> 'interval_minutes')::int AS interval_minutes,
            (e.after ->> 'next_run_at')::timestamptz <= coalesce((e.before ->> 'next_run_at')::timestamptz, '-infinity')
                OR (e.after ->> 'next_run_at')::timestamptz <= e.at - interval '30 seconds' AS is_back
        FROM witness.events e
        WHERE e.source = 'monitors' AND e.app NOT LIKE %(people)s AND e.before IS NOT NULL
            AND e.after ->> 'next_run_at' IS DISTINCT FROM e.before ->> 'next_run_at'
            AND e.after ->> 'next_run_at' IS NOT NULL
        """,
        people=PEOPLE,
    )
    return [row for row in rows if row["is_back"] or not _is_on_schedule(row)]


def _is_on_schedule(row: Row) -> bool:
    schedule = Schedule(row["timezone"], row["anchor"], row["interval_minutes"], row["cron"])
    upcoming: datetime = row["upcoming"]
    return schedule.next_after(upcoming - timedelta(microseconds=1)) == upcoming


def schedules_ahead(witness: Witness, books: Books) -> list[Row]:
    """Nothing is left due: every active monitor's next time, and every agent's next heartbeat, is ahead."""
    return witness.rows(
        """
        SELECT 'monitor' AS what, m.id::text AS key, m.name, m.next_run_at AS due, m.deferred_until
        FROM monitors m WHERE m.state = 'active' AND m.next_run_at <= now()
        UNION ALL
        SELECT 'agent', a.agent_url, '', a.next_heartbeat_at, NULL FROM agents a
        WHERE a.next_heartbeat_at <= now() AND NOT a.paused AND NOT a.opted_out AND a.lifecycle_stage <> 'retired'
        """
    )


def one_decision_an_evaluation(witness: Witness, books: Books) -> list[Row]:
    """Each job of a monitor has one decision, of the same transaction, and each that allows its job (G4)."""
    return witness.rows(
        """
        SELECT 'job without its one decision' AS what, q.key, count(d.id) AS decisions
        FROM witness.events q LEFT JOIN witness.events d
            ON d.source = 'monitor_decisions' AND d.xid = q.xid AND d.after ->> 'job_id' = q.key
        WHERE q.source = 'compliance_jobs' AND q.before IS NULL AND q.after ->> 'triggered_by' = 'monitor'
        GROUP BY q.key HAVING count(d.id) <> 1
        UNION ALL
        SELECT 'decision without its job', d.id::text, 0 FROM monitor_decisions d
        WHERE d.outcome = 'allowed' AND NOT EXISTS (SELECT FROM compliance_jobs q WHERE q.id = d.job_id
            AND q.monitor_id = d.monitor_id AND q.scheduled_for IS NOT DISTINCT FROM d.scheduled_for)
        UNION ALL
        SELECT 'two decisions about a monitor in one transaction', d.after ->> 'monitor_id', count(*)
        FROM witness.events d
        WHERE d.source = 'monitor_decisions' AND d.after ->> 'outcome' NOT IN ('stopped', 'parked')
        GROUP BY d.xid, d.after ->> 'monitor_id' HAVING count(*) > 1
        """
    )


def evaluated_again_for_a_reason(witness: Witness, books: Books) -> list[Row]:
    """An occurrence is decided about again only if it waits for something, or its job ended without a run."""
    return witness.rows(
        f"""
        SELECT * FROM (
            SELECT d.monitor_id, d.monitor_name, d.scheduled_for, d.at, d.outcome, q.state AS job_state,
                {_WAITS} AS waits,
                lead(d.outcome) OVER occurrence AS next_outcome, lead(d.at) OVER occurrence AS next_at
            FROM monitor_decisions d LEFT JOIN compliance_jobs q ON q.id = d.job_id
            WHERE d.scheduled_for IS NOT NULL
            WINDOW occurrence AS (PARTITION BY d.monitor_id, d.scheduled_for ORDER BY d.at, d.id)
        ) decided
        WHERE next_outcome IS NOT NULL AND next_outcome <> 'stopped' AND outcome <> 'deferred' AND NOT waits
            AND NOT (outcome = 'allowed' AND job_state IN ('expired', 'cancelled'))
            AND NOT (outcome = 'allowed' AND job_state = 'finished' AND next_outcome = 'parked')
        """
    )


def nothing_stuck(witness: Witness, books: Books) -> list[Row]:
    """No job is queued or leased any more, beyond its times or at all."""
    return witness.rows(
        """
        SELECT q.id, q.state, q.triggered_by, q.agent_url, q.executor_kind, q.attempt, q.created_at, q.expires_at,
            q.lease_expires_at, q.scheduled_for, now() AS now
        FROM compliance_jobs q WHERE q.state IN ('queued', 'leased')
        """
    )


def one_run_a_job(witness: Witness, books: Books) -> list[Row]:
    """A job has one run exactly when it is finished, and both say so."""
    return witness.rows(
        """
        SELECT q.id AS job_id, q.state, q.run_id, array_agg(r.id) AS runs
        FROM compliance_jobs q LEFT JOIN agent_compliance_runs r ON r.job_id = q.id
        GROUP BY q.id, q.state, q.run_id
        HAVING count(r.id) <> (q.state = 'finished')::int
            OR (q.run_id IS NOT NULL AND q.run_id <> ALL (array_agg(r.id)))
        UNION ALL
        SELECT r.job_id, 'gone', NULL, ARRAY[r.id] FROM agent_compliance_runs r
        WHERE NOT EXISTS (SELECT FROM compliance_jobs q WHERE q.id = r.job_id)
        """
    )


def one_active_job(witness: Witness, books: Books) -> list[Row]:
    """At no moment had a monitor, or an agent's heartbeat, two active jobs (L1)."""
    return witness.rows(
        """
        SELECT * FROM (
            SELECT coalesce(e.after ->> 'monitor_id', 'heartbeat of ' || (e.after ->> 'agent_url')) AS whose, e.at,
                e.app, e.key AS job_id, e.after ->> 'scheduled_for' AS scheduled_for,
                sum((e.after ->> 'state' IN ('queued', 'leased'))::int
                    - coalesce((e.before ->> 'state' IN ('queued', 'leased'))::int, 0))
                OVER (PARTITION BY coalesce(e.after ->> 'monitor_id', e.after ->> 'agent_url') ORDER BY e.id) AS active
            FROM witness.events e
            WHERE e.source = 'compliance_jobs'
                AND (e.after ->> 'monitor_id' IS NOT NULL OR e.after ->> 'triggered_by' = 'heartbeat')
        ) counted WHERE active > 1
        """
    )


def attempts_bounded(witness: Witness, books: Books, *, most: int) -> list[Row]:
    """A job is leased as often as is configured at most, not counting those that were handed back (L12)."""
    return witness.rows(
        """
        SELECT q.id, q.attempt, count(*) FILTER (WHERE e.took) AS leases, count(*) FILTER (WHERE e.gave) AS handed_back
        FROM compliance_jobs q JOIN (
            SELECT key, after ->> 'lease_token' IS NOT NULL
                    AND after ->> 'lease_token' IS DISTINCT FROM before ->> 'lease_token' AS took,
                (after ->> 'attempt')::int < (before ->> 'attempt')::int AS gave
            FROM witness.events WHERE source = 'compliance_jobs'
        ) e ON e.key = q.id::text
        GROUP BY q.id, q.attempt
        HAVING q.attempt > %(most)s
            OR count(*) FILTER (WHERE e.took) > %(most)s + count(*) FILTER (WHERE e.gave)
        """,
        most=most,
    )


# Of each run: the last lease of its job before it, how the job stood before the transaction of the run, which
# ends it, and who recorded the run.
_RECORDED = """
    SELECT r.key::uuid AS run_id, r.app AS recorded_by, r.at AS recorded_at, q.id AS job_id, q.executor_kind,
        r.after ->> 'harness_error' AS harness_error, l.app AS leased_by, l.at AS leased_at, l.xid AS lease_xid, r.xid,
        (l.after ->> 'attempt')::int AS attempt, last.after ->> 'state' AS state_then,
        (r.after ->> 'duration_ms')::int AS duration_ms, (r.after ->> 'tested_at')::timestamptz AS tested_at
    FROM witness.events r JOIN compliance_jobs q ON q.id = (r.after ->> 'job_id')::uuid
    LEFT JOIN LATERAL (
        SELECT e.* FROM witness.events e WHERE e.source = 'compliance_jobs' AND e.key = q.id::text AND e.id < r.id
            AND e.after ->> 'lease_token' IS NOT NULL
            AND e.after ->> 'lease_token' IS DISTINCT FROM e.before ->> 'lease_token'
        ORDER BY e.id DESC LIMIT 1) l ON true
    LEFT JOIN LATERAL (
        SELECT e.* FROM witness.events e WHERE e.source = 'compliance_jobs' AND e.key = q.id::text AND e.id < r.id
            AND e.xid <> r.xid
        ORDER BY e.id DESC LIMIT 1) last ON true
    WHERE r.source = 'agent_compliance_runs'
"""


def hosted_leases_fenced(witness: Witness, books: Books, *, most: int) -> list[Row]:
    """A hosted run is recorded by the process that holds the lease; what was lost ends after its attempts (L6)."""
    return witness.rows(
        f"""
        SELECT * FROM ({_RECORDED}) r WHERE executor_kind = 'hosted' AND CASE
            WHEN harness_error LIKE 'the worker was lost %%' THEN attempt IS DISTINCT FROM %(most)s
            ELSE recorded_by IS DISTINCT FROM leased_by OR state_then IS DISTINCT FROM 'leased'
                -- Begun before the lease was given: the work of an earlier one.
                OR tested_at - duration_ms * interval '1 ms' < leased_at - interval '2 seconds' END
        """,
        most=most,
    )


def private_leases_fenced(witness: Witness, books: Books) -> list[Row]:
    """An answer of a runner is taken for the lease that the runner itself holds, and for no other (L5, L6)."""
    jobs = {
        str(row["id"]): row
        for row in witness.rows(
            """
            SELECT q.id, q.finished_token::text, q.run_id::text, r.executor_name FROM compliance_jobs q
            LEFT JOIN agent_compliance_runs r ON r.id = q.run_id WHERE q.executor_kind = 'private'
            """
        )
    }
    given = set(books.leased)
    return [
        {"why": why, **vars(answer), "job": jobs.get(answer.job_id)}
        for answer in books.answered
        if answer.status == 200 and answer.call != "release"
        for why in _unfenced(answer, given, jobs.get(answer.job_id))
    ]


def _unfenced(answer: Answered, given: set[Leased], job: Row | None) -> Iterator[str]:
    if job is None:
        yield "taken for a job that is not private"
        return
    if Leased(answer.runner, answer.job_id, answer.token) not in given:
        yield "taken from a runner that was never given this lease"
    if answer.token != job["finished_token"]:
        yield "taken for a lease that was not the one that ended the job"
    if answer.run_id != job["run_id"]:
        yield "answered with another run than the job's"
    if answer.runner != job["executor_name"]:
        yield "recorded in the name of another runner"


def right_executor(witness: Witness, books: Books) -> list[Row]:
    """Runs carry the runner that they were pinned to, or one of its pool; hosted ones carry none (L3)."""
    return witness.rows(
        """
        SELECT r.id, r.job_id, q.executor_kind AS wanted, q.runner_id, q.pool, r.executor_kind, r.executor_id,
            r.executor_name, w.name AS runner, w.pool AS its_pool
        FROM agent_compliance_runs r JOIN compliance_jobs q ON q.id = r.job_id
        LEFT JOIN runners w ON w.id = r.executor_id
        WHERE r.executor_kind <> q.executor_kind OR r.triggered_org_id IS DISTINCT FROM q.organization_id
            OR r.triggered_by <> q.triggered_by OR r.agent_url <> q.agent_url
            OR (q.executor_kind = 'hosted' AND (r.executor_id IS NOT NULL OR r.executor_name <> ''))
            OR (q.executor_kind = 'private' AND (w.id IS NULL OR w.organization_id <> q.organization_id
                OR w.name <> r.executor_name OR (q.runner_id IS NOT NULL AND q.runner_id <> w.id)
                OR (q.runner_id IS NULL AND q.pool <> w.pool)))
        """
    )


def heartbeats_answered(witness: Witness, books: Books) -> list[Row]:
    """An agent's next heartbeat moves on in the transaction that records one, and with each that is recorded (L8)."""
    return witness.rows(
        """
        SELECT 'moved without a run' AS what, a.key AS agent, a.at, a.app,
            a.before ->> 'next_heartbeat_at' AS was, a.after ->> 'next_heartbeat_at' AS becomes
        FROM witness.events a
        WHERE a.source = 'agents' AND a.app NOT LIKE %(people)s
            AND NOT EXISTS (SELECT FROM witness.events r WHERE r.xid = a.xid AND r.source = 'agent_compliance_runs'
                AND r.after ->> 'triggered_by' = 'heartbeat' AND r.after ->> 'agent_url' = a.key)
        UNION ALL
        SELECT 'heartbeat that was not due', r.after ->> 'agent_url', r.at, r.app, q.created_at::text, r.key
        FROM witness.events r JOIN compliance_jobs q ON q.id = (r.after ->> 'job_id')::uuid
        WHERE r.source = 'agent_compliance_runs' AND r.after ->> 'triggered_by' = 'heartbeat'
            AND NOT EXISTS (SELECT FROM witness.events a WHERE a.xid = r.xid AND a.source = 'agents'
                AND a.key = r.after ->> 'agent_url' AND (a.before ->> 'next_heartbeat_at')::timestamptz <= q.created_at)
        """,
        people=PEOPLE,
    )


def evidence_of_runs(witness: Witness, books: Books) -> list[Row]:
    """There is no evidence without its run."""
    return witness.rows(
        """
        SELECT e.run_id, count(*) AS steps FROM step_evidence e
        WHERE NOT EXISTS (SELECT FROM agent_compliance_runs r WHERE r.id = e.run_id) GROUP BY e.run_id
        """
    )


Check = Callable[[Witness, Books], list[Row]]


def checks(*, most_attempts: int) -> dict[str, Check]:
    """All of them, by what they say."""

    def attempts(witness: Witness, books: Books) -> list[Row]:
        return attempts_bounded(witness, books, most=most_attempts)

    def fenced(witness: Witness, books: Books) -> list[Row]:
        return hosted_leases_fenced(witness, books, most=most_attempts)

    return {
        "each due occurrence has one result or one visible reason": occurrences_answered,
        "a schedule moves in the transaction that records why": occurrences_left_with_their_end,
        "a schedule moves forward, to a time of its own": schedules_go_on,
        "nothing is left due": schedules_ahead,
        "one decision for each evaluation": one_decision_an_evaluation,
        "an occurrence is decided about again for a reason only": evaluated_again_for_a_reason,
        "no job is stuck": nothing_stuck,
        "one run for each finished job": one_run_a_job,
        "one active job at a time": one_active_job,
        "no more attempts than configured": attempts,
        "hosted leases are fenced": fenced,
        "private leases are fenced": private_leases_fenced,
        "runs carry the right executor": right_executor,
        "heartbeats move on with their run": heartbeats_answered,
        "no evidence without a run": evidence_of_runs,
    }
