SELECT DISTINCT ON (c.agent_url) c.agent_url, g.organization_id, g.credential_id
FROM agent_contexts c
JOIN credential_grants g ON g.organization_id = c.organization_id AND c.id = ANY (g.context_ids)
WHERE c.agent_url = ANY (urls) AND c.relation = 'verified_owner' AND g.for_heartbeats AND g.revoked_at IS NULL
    AND coalesce((SELECT current_setting('app.platform', true)), '') = 'on'
ORDER BY c.agent_url, (g.expires_at > now()) DESC, g.created_at, g.id
