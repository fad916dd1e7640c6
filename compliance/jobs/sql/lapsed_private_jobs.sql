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
