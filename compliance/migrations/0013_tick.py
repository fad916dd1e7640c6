"""The tick's dead-man switch, counters and metrics; decisions are forgotten after a time."""

import django.db.models.functions.datetime
from django.db import migrations, models

# No organization's data: every role may read both. The rows of phases are there from the beginning, so that a tick
# that never came is missed as well.
RIGHTS = """
REVOKE ALL ON tick_phases, tick_counters FROM assay_app, assay_staff;
GRANT SELECT, INSERT, UPDATE ON tick_phases, tick_counters TO assay_app;
GRANT SELECT ON tick_phases, tick_counters TO assay_staff;
INSERT INTO tick_phases (name) VALUES ('heartbeats'), ('monitors'), ('runners');
"""

# A sequence counts without a lock, so that nobody who takes over a lease waits for somebody else who does.
LEASES = """
CREATE SEQUENCE leases_run_out;
REVOKE ALL ON SEQUENCE leases_run_out FROM PUBLIC, assay_app, assay_staff;
CREATE FUNCTION count_lease_run_out() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM nextval('leases_run_out');
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION count_lease_run_out() FROM PUBLIC, assay_app, assay_staff;
CREATE TRIGGER lease_run_out AFTER UPDATE OF lease_token ON compliance_jobs FOR EACH ROW
    WHEN (OLD.state = 'leased' AND NEW.lease_token IS DISTINCT FROM OLD.lease_token
        AND OLD.lease_expires_at < statement_timestamp())
    EXECUTE FUNCTION count_lease_run_out();
"""

# Numbers, and no more. What is counted is found by an index of its own; a backlog is counted up to a hundred thousand.
METRICS = """
CREATE FUNCTION ledger_metrics(overdue_after interval)
RETURNS TABLE (name text, label text, second_label text, value double precision)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT 'due', 'monitors', '', count(*)::float8 FROM (
        SELECT FROM monitors m WHERE m.state = 'active' AND m.next_run_at <= statement_timestamp()
            AND (m.deferred_until IS NULL OR m.deferred_until <= statement_timestamp())
            AND NOT EXISTS (SELECT FROM compliance_jobs r
                WHERE r.monitor_id = m.id AND r.state IN ('queued', 'leased'))
        LIMIT 100000) d
    UNION ALL
    SELECT 'due', 'heartbeats', '', count(*) FROM (
        SELECT FROM agents a WHERE a.registrations > 0 AND NOT a.paused AND NOT a.opted_out
            AND a.lifecycle_stage IN ('testing', 'production') AND a.next_heartbeat_at <= statement_timestamp()
            AND NOT EXISTS (SELECT FROM compliance_jobs r
                WHERE r.agent_url = a.agent_url AND r.organization_id IS NULL AND r.state IN ('queued', 'leased'))
        LIMIT 100000) d
    UNION ALL
    SELECT 'overdue', 'monitors', '', count(*) FROM (
        SELECT FROM monitors m WHERE m.state = 'active' AND m.next_run_at <= statement_timestamp() - overdue_after
            AND m.executor_kind = 'hosted'
        LIMIT 100000) d
    UNION ALL
    SELECT 'overdue', 'heartbeats', '', count(*) FROM (
        SELECT FROM agents a WHERE a.registrations > 0 AND NOT a.paused AND NOT a.opted_out
            AND a.lifecycle_stage IN ('testing', 'production')
            AND a.next_heartbeat_at <= statement_timestamp() - overdue_after
        LIMIT 100000) d
    UNION ALL
    SELECT 'oldest_overdue', 'monitors', '', coalesce(extract(epoch FROM statement_timestamp() - min(m.next_run_at)), 0)
    FROM monitors m WHERE m.state = 'active' AND m.next_run_at <= statement_timestamp() - overdue_after
        AND m.executor_kind = 'hosted'
    UNION ALL
    SELECT 'oldest_overdue', 'heartbeats', '',
        coalesce(extract(epoch FROM statement_timestamp() - min(a.next_heartbeat_at)), 0)
    FROM agents a WHERE a.registrations > 0 AND NOT a.paused AND NOT a.opted_out
        AND a.lifecycle_stage IN ('testing', 'production')
        AND a.next_heartbeat_at <= statement_timestamp() - overdue_after
    UNION ALL
    SELECT 'jobs', r.state, r.triggered_by, count(*) FROM compliance_jobs r
    WHERE r.state IN ('queued', 'leased') GROUP BY r.state, r.triggered_by
    UNION ALL
    SELECT 'oldest_queued', '', '', coalesce(extract(epoch FROM statement_timestamp() - min(r.created_at)), 0)
    FROM compliance_jobs r WHERE r.state = 'queued'
    UNION ALL
    SELECT 'leases_run_out', '', '', CASE WHEN s.is_called THEN s.last_value ELSE 0 END FROM leases_run_out s
    UNION ALL
    SELECT 'runners', CASE WHEN w.online_until > statement_timestamp() THEN 'online' ELSE 'offline' END, '', count(*)
    FROM runners w WHERE w.state = 'active' GROUP BY 2
    UNION ALL
    SELECT 'runner_silent', '', '', coalesce(extract(epoch FROM statement_timestamp() - min(w.last_seen_at)), 0)
    FROM runners w WHERE w.state = 'active'
    UNION ALL
    SELECT c.name, c.label, '', c.value FROM tick_counters c
    UNION ALL
    SELECT 'tick_completed', p.name, '', extract(epoch FROM p.last_completed_at)
    FROM tick_phases p WHERE p.last_completed_at IS NOT NULL
    UNION ALL
    SELECT 'tick_duration', p.name, '', p.last_duration_ms / 1000.0 FROM tick_phases p
    WHERE p.last_duration_ms IS NOT NULL
$$;
REVOKE ALL ON FUNCTION ledger_metrics(interval) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ledger_metrics(interval) TO assay_app;
"""

# The table stays insert-only for everybody but this function, and even it sees only what is old.
FORGETTING = """
CREATE POLICY forgetting ON monitor_decisions TO assay_owner USING (at < now() - interval '7 days') WITH CHECK (false);
DROP TRIGGER insert_only ON monitor_decisions;
CREATE TRIGGER insert_only BEFORE UPDATE OR TRUNCATE ON monitor_decisions
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER insert_only_until_old BEFORE DELETE ON monitor_decisions FOR EACH STATEMENT
    WHEN (current_setting('app.forgetting', true) IS DISTINCT FROM 'on') EXECUTE FUNCTION refuse_change();

CREATE FUNCTION forget_decisions(keep_days integer, at_most integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    forgotten integer;
BEGIN
    IF (keep_days BETWEEN 7 AND 3650) IS NOT TRUE THEN
        RAISE EXCEPTION 'keep_days must be 7 to 3650, not %', keep_days;
    END IF;
    IF (at_most BETWEEN 1 AND 10000) IS NOT TRUE THEN
        RAISE EXCEPTION 'at_most must be 1 to 10000, not %', at_most;
    END IF;
    PERFORM set_config('app.forgetting', 'on', true);
    DELETE FROM monitor_decisions d WHERE d.id IN (
        SELECT o.id FROM monitor_decisions o WHERE o.at < now() - make_interval(days => keep_days)
        ORDER BY o.at, o.id LIMIT at_most);
    GET DIAGNOSTICS forgotten = ROW_COUNT;
    PERFORM set_config('app.forgetting', '', true);
    RETURN forgotten;
END $$;
REVOKE ALL ON FUNCTION forget_decisions(integer, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION forget_decisions(integer, integer) TO assay_app;
"""


def sql(text: str) -> migrations.RunSQL:
    return migrations.RunSQL(text)


class Migration(migrations.Migration):

    dependencies = [
        ('compliance', '0012_api_keys'),
    ]

    operations = [
        migrations.CreateModel(
            name='TickPhase',
            fields=[
                ('name', models.CharField(max_length=40, primary_key=True, serialize=False)),
                ('made_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('last_started_at', models.DateTimeField(null=True)),
                ('last_completed_at', models.DateTimeField(help_text='A phase that failed is not completed.', null=True)),
                ('last_duration_ms', models.PositiveIntegerField(help_text='Of the last one that was completed.', null=True)),
                ('last_failed_at', models.DateTimeField(null=True)),
                ('last_error', models.CharField(db_default='', help_text='Its kind; the log has the rest.', max_length=100)),
            ],
            options={
                'verbose_name': 'phase of the tick',
                'verbose_name_plural': 'phases of the tick',
                'db_table': 'tick_phases',
            },
        ),
        migrations.CreateModel(
            name='TickCounter',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=40)),
                ('label', models.CharField(max_length=60)),
                ('value', models.BigIntegerField()),
            ],
            options={
                'db_table': 'tick_counters',
                'constraints': [models.UniqueConstraint(fields=('name', 'label'), name='one_counter_per_label')],
            },
        ),
        migrations.AddIndex(
            model_name='monitor',
            index=models.Index(fields=['-created_at', '-id'], name='monitors_newest'),
        ),
        migrations.AddIndex(
            model_name='monitordecision',
            index=models.Index(fields=['-at', '-id'], name='decisions_newest_of_all'),
        ),
        migrations.AddIndex(
            model_name='job',
            index=models.Index(condition=models.Q(('state__in', ['queued', 'leased'])), fields=['organization', 'agent'], name='jobs_in_flight'),
        ),
        sql(RIGHTS),
        sql(LEASES),
        sql(METRICS),
        sql(FORGETTING),
    ]
