#variable_conflict use_column
BEGIN
    IF (at_most BETWEEN 1 AND 1000) IS NOT TRUE THEN
        RAISE EXCEPTION 'at_most must be 1 to 1000, not %', at_most;
    END IF;
    RETURN QUERY
        SELECT d.organization_id FROM (
            SELECT m.organization_id, m.next_run_at FROM monitors m
            WHERE m.state = 'active' AND m.next_run_at <= statement_timestamp()
                AND (m.deferred_until IS NULL OR m.deferred_until <= statement_timestamp() OR m.waiting_since IS NULL AND EXISTS (
                    SELECT 1 FROM runners w WHERE w.organization_id = m.organization_id AND w.state = 'active'
                        AND w.online_until > statement_timestamp()
                        AND (w.id = m.runner_id OR (m.pool <> '' AND w.pool = m.pool))))
                AND (SELECT r.id FROM compliance_jobs r
                    WHERE r.monitor_id = m.id AND r.state IN ('queued', 'leased') LIMIT 1) IS NULL
            ORDER BY m.next_run_at, m.id LIMIT at_most
        ) d
        GROUP BY d.organization_id ORDER BY min(d.next_run_at), d.organization_id;
END;
