"""What the app role may ask of the owner: keys, the queue, what is due, metrics, retention."""

import compliance.tenancy.schema
from django.db import migrations


class Migration(migrations.Migration):

    dependencies = [
        ('compliance', '0004_guards'),
    ]

    operations = [
        migrations.AddConstraint(
            model_name='apikey',
            constraint=compliance.tenancy.schema.Function(arguments='hash text', as_owner=True, body=compliance.tenancy.schema.SQL("""
                SELECT k.id, k.organization_id, k.name, k.scopes, k.runner_id, k.expires_at, k.revoked_at, k.last_used_at
                FROM api_keys k WHERE k.secret_hash = hash
            """), callers='assay_app', language='sql STABLE', name='find_api_key', returns='TABLE(id uuid, organization_id varchar, name varchar, scopes text[], runner_id uuid, expires_at timestamptz, revoked_at timestamptz, last_used_at timestamptz)'),
        ),
        migrations.AddConstraint(
            model_name='agent',
            constraint=compliance.tenancy.schema.Function(arguments='agent_url text, interval_hours integer, after timestamptz', body=compliance.tenancy.schema.SQL("""
                SELECT to_timestamp(offset_s + (floor((extract(epoch FROM after) - offset_s) / period_s) + 1) * period_s)
                FROM (SELECT interval_hours * 3600 AS period_s,
                             mod(mod(hashtextextended(agent_url, 0), interval_hours * 3600) + interval_hours * 3600,
                                 interval_hours * 3600) AS offset_s) AS slots
            """), callers='PUBLIC', inlined=True, language='sql IMMUTABLE PARALLEL SAFE', name='heartbeat_slot', returns='timestamptz'),
        ),
        migrations.AddConstraint(
            model_name='runner',
            constraint=compliance.tenancy.schema.Function(arguments='notify_after interval, at_most integer', as_owner=True, body=compliance.tenancy.schema.SQL("""
                #variable_conflict use_column
                BEGIN
                    IF (notify_after >= interval '1 second') IS NOT TRUE THEN
                        RAISE EXCEPTION 'notify_after must be 1 second or more, not %', notify_after;
                    END IF;
                    IF (at_most BETWEEN 1 AND 1000) IS NOT TRUE THEN
                        RAISE EXCEPTION 'at_most must be 1 to 1000, not %', at_most;
                    END IF;
                    RETURN QUERY
                        SELECT r.organization_id FROM runners r
                        WHERE r.state = 'active' AND r.online_until < now() AND r.offline_notified_at IS NULL
                            AND r.last_seen_at < now() - notify_after
                        ORDER BY r.online_until LIMIT at_most;
                END;
            """), callers='assay_app', language='plpgsql STABLE', name='runners_gone', returns='TABLE(organization_id varchar)'),
        ),
        migrations.AddConstraint(
            model_name='credentialgrant',
            constraint=compliance.tenancy.schema.Function(arguments='urls text[]', as_owner=True, body=compliance.tenancy.schema.SQL("""
                SELECT DISTINCT ON (c.agent_url) c.agent_url, g.organization_id, g.credential_id
                FROM agent_contexts c
                JOIN credential_grants g ON g.organization_id = c.organization_id AND c.id = ANY (g.context_ids)
                WHERE c.agent_url = ANY (urls) AND c.relation = 'verified_owner' AND g.for_heartbeats AND g.revoked_at IS NULL
                    AND coalesce((SELECT current_setting('app.platform', true)), '') = 'on'
                ORDER BY c.agent_url, (g.expires_at > now()) DESC, g.created_at, g.id
            """), callers='assay_app', language='sql STABLE', name='heartbeat_credentials', returns='TABLE(agent_url text, organization_id varchar, credential_id uuid)'),
        ),
        migrations.AddConstraint(
            model_name='job',
            constraint=compliance.tenancy.schema.Function(arguments='dispatch_after interval, at_most integer', as_owner=True, body=compliance.tenancy.schema.SQL("""
                #variable_conflict use_column
                BEGIN
                    -- IS NOT TRUE, because a comparison with NULL is neither true nor false.
                    IF (dispatch_after >= interval '1 second') IS NOT TRUE THEN
                        RAISE EXCEPTION 'dispatch_after must be 1 second or more, not %', dispatch_after;
                    END IF;
                    IF (at_most BETWEEN 1 AND 1000) IS NOT TRUE THEN
                        RAISE EXCEPTION 'at_most must be 1 to 1000, not %', at_most;
                    END IF;
                    RETURN QUERY
                        SELECT r.id, r.organization_id FROM compliance_jobs r
                        WHERE r.state IN ('queued', 'leased') AND r.executor_kind = 'hosted' AND r.expires_at > now()
                            AND ((r.state = 'queued' AND r.dispatched_at < now() - dispatch_after)
                                 OR (r.state = 'leased' AND r.lease_expires_at < now()))
                        ORDER BY r.created_at LIMIT at_most;
                END;
            """), callers='assay_app', language='plpgsql STABLE', name='stale_jobs', returns='TABLE(id uuid, organization_id varchar)'),
        ),
        migrations.AddConstraint(
            model_name='job',
            constraint=compliance.tenancy.schema.Function(arguments='at_most integer', as_owner=True, body=compliance.tenancy.schema.SQL("""
                #variable_conflict use_column
                BEGIN
                    IF (at_most BETWEEN 1 AND 1000) IS NOT TRUE THEN
                        RAISE EXCEPTION 'at_most must be 1 to 1000, not %', at_most;
                    END IF;
                    RETURN QUERY
                        SELECT r.organization_id FROM compliance_jobs r
                        WHERE r.state IN ('queued', 'leased') AND r.executor_kind = 'private'
                            AND r.state = 'leased' AND r.lease_expires_at < now()
                        ORDER BY r.created_at LIMIT at_most;
                END;
            """), callers='assay_app', language='plpgsql STABLE', name='lapsed_private_jobs', returns='TABLE(organization_id varchar)'),
        ),
        migrations.AddConstraint(
            model_name='job',
            constraint=compliance.tenancy.schema.Function(arguments='at_most integer', as_owner=True, body=compliance.tenancy.schema.SQL("""
                DECLARE
                    ended integer;
                BEGIN
                    IF (at_most BETWEEN 1 AND 1000) IS NOT TRUE THEN
                        RAISE EXCEPTION 'at_most must be 1 to 1000, not %', at_most;
                    END IF;
                    UPDATE compliance_jobs q
                    SET state = 'expired', finished_at = now(), lease_token = NULL, lease_expires_at = NULL,
                        end_reason = CASE
                            WHEN q.attempt > 0 THEN 'Whoever took it was lost, and nobody took it again in time.'
                            WHEN q.executor_kind = 'private' THEN 'No private runner took it in time.'
                            ELSE 'No worker took it in time.' END
                    WHERE q.id IN (
                        SELECT r.id FROM compliance_jobs r
                        WHERE r.state IN ('queued', 'leased') AND r.expires_at <= now()
                            AND (r.state = 'queued' OR r.lease_expires_at < now())
                        ORDER BY r.expires_at LIMIT at_most FOR UPDATE SKIP LOCKED);
                    GET DIAGNOSTICS ended = ROW_COUNT;
                    RETURN ended;
                END;
            """), callers='assay_app', language='plpgsql', name='expire_jobs', returns='integer'),
        ),
        migrations.AddConstraint(
            model_name='job',
            constraint=compliance.tenancy.schema.Function(arguments='keys text[]', as_owner=True, body=compliance.tenancy.schema.SQL("""
                SELECT DISTINCT w.key FROM (
                    SELECT CASE WHEN r.runner_id IS NOT NULL THEN 'runner:' || r.runner_id
                        ELSE 'pool:' || r.organization_id || ':' || r.pool END AS key
                    FROM compliance_jobs r
                    WHERE r.state IN ('queued', 'leased') AND r.executor_kind = 'private' AND r.state = 'queued'
                        AND r.expires_at > now()
                ) AS w
                WHERE w.key = ANY (keys)
            """), callers='assay_app', language='sql STABLE', name='waiting_work', returns='TABLE(key text)'),
        ),
        migrations.AddConstraint(
            model_name='monitor',
            constraint=compliance.tenancy.schema.Function(arguments='at_most integer', as_owner=True, body=compliance.tenancy.schema.SQL("""
                #variable_conflict use_column
                BEGIN
                    IF (at_most BETWEEN 1 AND 1000) IS NOT TRUE THEN
                        RAISE EXCEPTION 'at_most must be 1 to 1000, not %', at_most;
                    END IF;
                    RETURN QUERY
                        SELECT d.organization_id FROM (
                            SELECT m.organization_id, m.next_run_at FROM monitors m
                            WHERE m.state = 'active' AND m.next_run_at <= statement_timestamp()
                                AND (m.deferred_until IS NULL OR m.deferred_until <= statement_timestamp() OR EXISTS (
                                    SELECT 1 FROM runners w WHERE w.organization_id = m.organization_id AND w.state = 'active'
                                        AND w.online_until > statement_timestamp()
                                        AND (w.id = m.runner_id OR (m.pool <> '' AND w.pool = m.pool))))
                                AND (SELECT r.id FROM compliance_jobs r
                                    WHERE r.monitor_id = m.id AND r.state IN ('queued', 'leased') LIMIT 1) IS NULL
                            ORDER BY m.next_run_at, m.id LIMIT at_most
                        ) d
                        GROUP BY d.organization_id ORDER BY min(d.next_run_at), d.organization_id;
                END;
            """), callers='assay_app', language='plpgsql STABLE', name='organizations_due', returns='TABLE(organization_id varchar)'),
        ),
        migrations.AddConstraint(
            model_name='monitor',
            constraint=compliance.tenancy.schema.Function(arguments='overdue_after interval', as_owner=True, body=compliance.tenancy.schema.SQL("""
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
                SELECT 'oldest_overdue', 'monitors', '',
                    coalesce(extract(epoch FROM statement_timestamp() - min(m.next_run_at)), 0)
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
                SELECT 'runners', CASE WHEN w.online_until > statement_timestamp() THEN 'online' ELSE 'offline' END, '',
                    count(*)
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
            """), callers='assay_app', language='sql STABLE', name='work_metrics', returns='TABLE(name text, label text, second_label text, value float8)'),
        ),
        migrations.AddConstraint(
            model_name='monitordecision',
            constraint=compliance.tenancy.schema.Function(arguments='keep_days integer, at_most integer', as_owner=True, body=compliance.tenancy.schema.SQL("""
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
                END;
            """), callers='assay_app', language='plpgsql', name='forget_decisions', returns='integer'),
        ),
        migrations.AddConstraint(
            model_name='webhookdelivery',
            constraint=compliance.tenancy.schema.Function(arguments='keep_days integer, at_most integer', as_owner=True, body=compliance.tenancy.schema.SQL("""
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
                    DELETE FROM webhook_deliveries d WHERE d.id IN (
                        SELECT o.id FROM webhook_deliveries o WHERE o.received_at < now() - make_interval(days => keep_days)
                        ORDER BY o.received_at, o.id LIMIT at_most);
                    GET DIAGNOSTICS forgotten = ROW_COUNT;
                    PERFORM set_config('app.forgetting', '', true);
                    RETURN forgotten;
                END;
            """), callers='assay_app', language='plpgsql', name='forget_webhook_deliveries', returns='integer'),
        ),
    ]
