BEGIN
    PERFORM nextval(concat_ws('_', 'runs', NEW.triggered_by, NEW.overall_status));
    IF NEW.triggered_org_id IS NOT NULL AND NOT NEW.dry_run AND NEW.overall_status <> 'inconclusive' THEN
        INSERT INTO agent_run_totals AS t (organization_id, agent_url, total)
        VALUES (NEW.triggered_org_id, NEW.agent_url, 1)
        ON CONFLICT (organization_id, agent_url) DO UPDATE SET total = t.total + 1;
    END IF;
    IF NEW.moves_status THEN
        PERFORM refresh_agent_status(NEW.agent_url);
    END IF;
    RETURN NULL;
END;
