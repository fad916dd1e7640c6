BEGIN
    IF OLD.state = 'deleted' THEN
        RAISE EXCEPTION 'a deleted runner stays as it is' USING ERRCODE = 'insufficient_privilege';
    END IF;
    -- Whoever works for it, or pins something to it, holds a share of its key: all of them are waited for.
    PERFORM 1 FROM runners r WHERE r.id = OLD.id FOR UPDATE;
    -- And of two that leave a pool at once, one waits for the other, and sees that it is the last.
    IF OLD.pool <> '' AND (NEW.state = 'deleted' OR NEW.pool <> OLD.pool) THEN
        PERFORM 1 FROM runners r
        WHERE r.organization_id = OLD.organization_id AND r.pool = OLD.pool AND r.id <> OLD.id
            AND r.state <> 'deleted'
        ORDER BY r.id FOR KEY SHARE;
    END IF;
    RETURN NEW;
END;
