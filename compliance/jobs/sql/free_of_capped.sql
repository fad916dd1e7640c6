#variable_conflict use_column
DECLARE
    capped record;
BEGIN
    IF cardinality(urls) > 1000 THEN
        RAISE EXCEPTION 'at most 1000 agents, not %', cardinality(urls);
    END IF;
    FOR capped IN
        SELECT a.agent_url AS url, a.max_at_once AS most,
            a.next_heartbeat_at BETWEEN statement_timestamp() - interval '10 minutes' AND statement_timestamp()
                AND a.registrations > 0 AND NOT a.paused AND NOT a.opted_out
                AND a.lifecycle_stage IN ('testing', 'production') AS beats
        FROM agents a
        WHERE a.agent_url = ANY(urls) AND a.max_at_once IS NOT NULL ORDER BY a.agent_url
    LOOP
        -- Who else counts this agent's tests waits until the jobs that follow from the answer are there.
        PERFORM pg_advisory_xact_lock(3, hashtext(capped.url));
        agent_url := capped.url;
        free := capped.most - (
            SELECT count(*) FROM compliance_jobs r
            WHERE r.agent_url = capped.url AND r.state IN ('queued', 'leased')
                AND (r.executor_kind = 'hosted' OR r.state = 'leased'));
        -- A heartbeat that is due goes before: who tests the agent without a pause must not hold it up for ever. Not
        -- one that has been due for long: then the scheduler stands still, and tests on demand must not.
        IF capped.beats AND current_setting('app.platform', true) IS DISTINCT FROM 'on' AND NOT EXISTS (
            SELECT FROM compliance_jobs r
            WHERE r.agent_url = capped.url AND r.organization_id IS NULL AND r.state IN ('queued', 'leased'))
        THEN
            free := free - 1;
        END IF;
        RETURN NEXT;
    END LOOP;
END;
