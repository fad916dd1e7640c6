BEGIN
    -- One at a time for one agent: the probes below must see every run that committed before. Agents share
    -- 1,024 locks, because a rebuild holds those of every agent that it mends, and the server's lock table
    -- is finite.
    PERFORM pg_advisory_xact_lock(1, mod(hashtext(url), 1024));
    INSERT INTO agent_status
        (agent_url, status, since, last_run_id, last_run_at, last_passed_at, last_failed_at)
    SELECT url, s.status, s.since, s.last_run_id, s.last_run_at, s.last_passed_at, s.last_failed_at
    FROM agent_status_from_runs(url) s
    ON CONFLICT (agent_url) DO UPDATE
    SET (status, since, last_run_id, last_run_at, last_passed_at, last_failed_at)
        = (excluded.status, excluded.since, excluded.last_run_id, excluded.last_run_at,
           excluded.last_passed_at, excluded.last_failed_at);
END;
