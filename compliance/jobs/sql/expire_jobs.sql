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
