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
