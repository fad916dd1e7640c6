BEGIN
    -- Without the context the organization's work can no longer see the agent: it would wait for ever.
    UPDATE compliance_jobs
    SET state = 'cancelled', finished_at = now(), lease_token = NULL, lease_expires_at = NULL
    WHERE organization_id = OLD.organization_id AND agent_url = OLD.agent_url AND state IN ('queued', 'leased');
    RETURN NULL;
END;
