BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF OLD.revoked_at IS NOT NULL OR NEW.revoked_at IS NULL
           OR (to_jsonb(NEW) - 'revoked_at' - 'revoked_by')
              <> (to_jsonb(OLD) - 'revoked_at' - 'revoked_by') THEN
            RAISE EXCEPTION 'a grant is revoked once and never changed'
                USING ERRCODE = 'insufficient_privilege';
        END IF;
    ELSIF EXISTS (SELECT 1 FROM unnest(NEW.context_ids) AS named(id) WHERE NOT EXISTS (
            SELECT 1 FROM agent_contexts c WHERE c.id = named.id
                AND c.organization_id = NEW.organization_id)) THEN
        RAISE EXCEPTION 'a grant names agents of its own organization' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END;
