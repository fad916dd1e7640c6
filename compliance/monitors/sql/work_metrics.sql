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
        AND m.executor_kind = 'hosted' AND m.waiting_since IS NULL
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
    AND m.executor_kind = 'hosted' AND m.waiting_since IS NULL
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
SELECT 'runs', t.name, v.name, coalesce((SELECT q.last_value FROM pg_sequences q
    WHERE q.schemaname = 'public' AND q.sequencename = concat_ws('_', 'runs', t.name, v.name)), 0)
FROM unnest(ARRAY['owner_test', 'observer_test', 'monitor', 'heartbeat', 'manual', 'webhook']) AS t(name),
    unnest(ARRAY['passing', 'partial', 'failing', 'inconclusive']) AS v(name)
UNION ALL
SELECT c.name, c.label, '', c.value FROM tick_counters c
UNION ALL
SELECT 'tick_completed', p.name, '', extract(epoch FROM p.last_completed_at)
FROM tick_phases p WHERE p.last_completed_at IS NOT NULL
UNION ALL
SELECT 'tick_duration', p.name, '', p.last_duration_ms / 1000.0 FROM tick_phases p
WHERE p.last_duration_ms IS NOT NULL
