CREATE STATISTICS runs_of_organization_and_agent (dependencies, mcv) ON triggered_org_id, agent_url
    FROM agent_compliance_runs
