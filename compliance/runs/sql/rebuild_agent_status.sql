#variable_conflict use_column
DECLARE
    difference record;
BEGIN
    FOR difference IN
        SELECT a.agent_url AS url, to_jsonb(s) - 'agent_url' AS was, to_jsonb(d) AS is_now
        FROM agents a
        LEFT JOIN agent_status s ON s.agent_url = a.agent_url
        LEFT JOIN LATERAL agent_status_from_runs(a.agent_url) d ON true
        WHERE (s.status, s.since, s.last_run_id, s.last_run_at, s.last_passed_at, s.last_failed_at)
            IS DISTINCT FROM
            (d.status, d.since, d.last_run_id, d.last_run_at, d.last_passed_at, d.last_failed_at)
        ORDER BY a.agent_url
    LOOP
        IF mend THEN
            PERFORM pg_advisory_xact_lock(1, mod(hashtext(difference.url), 1024));
            DELETE FROM agent_status st WHERE st.agent_url = difference.url;
            PERFORM refresh_agent_status(difference.url);
        END IF;
        agent_url := difference.url;
        stored := difference.was;
        derived := difference.is_now;
        RETURN NEXT;
    END LOOP;
END;
