BEGIN
    IF TG_OP = 'DELETE' THEN
        INSERT INTO organization_tombstones (id) VALUES (OLD.id) ON CONFLICT DO NOTHING;
        RETURN OLD;
    END IF;
    IF EXISTS (SELECT 1 FROM organization_tombstones t WHERE t.id = NEW.id) THEN
        RAISE EXCEPTION 'organization % was deleted; its key cannot be used again', NEW.id
            USING ERRCODE = 'unique_violation';
    END IF;
    RETURN NEW;
END;
