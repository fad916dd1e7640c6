WITH of_status AS (
    SELECT r.* FROM unnest(ARRAY['passing', 'partial', 'failing']) AS s(status)
    CROSS JOIN LATERAL (
        SELECT id, overall_status, tested_at FROM agent_compliance_runs
        WHERE moves_status AND agent_url = url AND overall_status = s.status
        ORDER BY tested_at DESC, id DESC LIMIT 1
    ) r
),
latest AS (SELECT * FROM of_status ORDER BY tested_at DESC, id DESC LIMIT 1),
before AS (
    SELECT o.* FROM of_status o, latest l WHERE o.id <> l.id ORDER BY o.tested_at DESC, o.id DESC LIMIT 1
)
SELECT l.overall_status,
    (SELECT r.tested_at FROM agent_compliance_runs r
     WHERE r.moves_status AND r.agent_url = url AND r.overall_status = l.overall_status
         AND (NOT EXISTS (SELECT 1 FROM before)
              OR (r.tested_at, r.id) > (SELECT b.tested_at, b.id FROM before b))
     ORDER BY r.tested_at, r.id LIMIT 1),
    l.id, l.tested_at,
    (SELECT tested_at FROM of_status WHERE overall_status = 'passing'),
    (SELECT max(tested_at) FROM of_status WHERE overall_status <> 'passing')
FROM latest l
