SELECT DISTINCT w.key FROM (
    SELECT CASE WHEN r.runner_id IS NOT NULL THEN 'runner:' || r.runner_id
        ELSE 'pool:' || r.organization_id || ':' || r.pool END AS key
    FROM compliance_jobs r
    WHERE r.state IN ('queued', 'leased') AND r.executor_kind = 'private' AND r.state = 'queued'
        AND r.expires_at > now()
) AS w
WHERE w.key = ANY (keys)
