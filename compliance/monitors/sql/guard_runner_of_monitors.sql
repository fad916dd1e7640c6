BEGIN
    IF NEW.state = 'deleted' AND EXISTS (
        SELECT 1 FROM monitors m WHERE m.runner_id = OLD.id AND m.state <> 'archived') THEN
        RAISE EXCEPTION 'monitors are pinned to this runner' USING ERRCODE = 'foreign_key_violation';
    END IF;
    IF OLD.pool <> '' AND (NEW.state = 'deleted' OR NEW.pool <> OLD.pool)
        AND NOT EXISTS (SELECT 1 FROM runners r
            WHERE r.organization_id = OLD.organization_id AND r.pool = OLD.pool AND r.id <> OLD.id
                AND r.state <> 'deleted')
        AND EXISTS (SELECT 1 FROM monitors m
            WHERE m.organization_id = OLD.organization_id AND m.pool = OLD.pool AND m.state <> 'archived') THEN
        RAISE EXCEPTION 'monitors are pinned to the pool of which this is the last runner'
            USING ERRCODE = 'foreign_key_violation';
    END IF;
    RETURN NEW;
END;
