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
