BEGIN
    IF NEW.name NOT IN ('heartbeats', 'monitors', 'runners') THEN
        RAISE EXCEPTION 'there is no such phase of the tick' USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF TG_OP = 'UPDATE' AND (NEW.name, NEW.made_at) IS DISTINCT FROM (OLD.name, OLD.made_at)
        OR TG_OP = 'INSERT' AND NEW.made_at NOT IN (now(), statement_timestamp()) THEN
        RAISE EXCEPTION 'a phase of the tick stays as it was made' USING ERRCODE = 'insufficient_privilege';
    END IF;
    -- Of a row that is inserted, OLD is all NULL.
    IF NEW.last_started_at IS DISTINCT FROM OLD.last_started_at
            AND NEW.last_started_at IS DISTINCT FROM statement_timestamp()
        OR NEW.last_completed_at IS DISTINCT FROM OLD.last_completed_at
            AND NEW.last_completed_at IS DISTINCT FROM statement_timestamp()
        OR NEW.last_failed_at IS DISTINCT FROM OLD.last_failed_at
            AND NEW.last_failed_at IS DISTINCT FROM statement_timestamp() THEN
        RAISE EXCEPTION 'what comes of a phase of the tick comes now' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END;
