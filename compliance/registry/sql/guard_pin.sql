BEGIN
    PERFORM 1 FROM runners r
    WHERE r.organization_id = NEW.organization_id AND r.state <> 'deleted'
        AND (r.id = NEW.runner_id OR (NEW.pool <> '' AND r.pool = NEW.pool))
    ORDER BY r.id FOR KEY SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no such private runner' USING ERRCODE = 'foreign_key_violation';
    END IF;
    RETURN NEW;
END;
