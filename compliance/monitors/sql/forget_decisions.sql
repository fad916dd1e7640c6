DECLARE
    forgotten integer;
    of_heartbeats integer;
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
    DELETE FROM heartbeat_decisions d WHERE d.id IN (
        SELECT o.id FROM heartbeat_decisions o WHERE o.at < now() - make_interval(days => keep_days)
        ORDER BY o.at, o.id LIMIT at_most - forgotten);
    GET DIAGNOSTICS of_heartbeats = ROW_COUNT;
    PERFORM set_config('app.forgetting', '', true);
    RETURN forgotten + of_heartbeats;
END;
