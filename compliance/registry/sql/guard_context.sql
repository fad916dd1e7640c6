BEGIN
    IF NEW.relation = 'verified_owner' AND current_user = 'assay_app'
       AND (TG_OP = 'INSERT' OR OLD.relation <> 'verified_owner') THEN
        RAISE EXCEPTION 'only staff may mark a verified owner' USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF TG_OP = 'UPDATE' AND (NEW.agent_url, NEW.organization_id) <> (OLD.agent_url, OLD.organization_id) THEN
        RAISE EXCEPTION 'a context keeps its agent and its organization'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END;
