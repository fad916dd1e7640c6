"""The view of last tests says since when tests came without a verdict."""

import compliance.tenancy.schema
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('compliance', '0008_heartbeat_decisions_and_caps'),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name='compliancerun',
            name='agent_context_with_latest_test',
        ),
        migrations.AddIndex(
            model_name='compliancerun',
            index=models.Index(models.F('triggered_org_id'), models.F('agent_url'), models.OrderBy(models.F('tested_at'), descending=True), models.OrderBy(models.F('id'), descending=True), condition=models.Q(('dry_run', False), ('overall_status', 'inconclusive'), ('triggered_org_id__isnull', False)), name='runs_without_verdict'),
        ),
        migrations.AddConstraint(
            model_name='compliancerun',
            constraint=compliance.tenancy.schema.View(name='agent_context_with_latest_test', query=compliance.tenancy.schema.SQL("""
                SELECT c.id, c.organization_id, c.agent_url, c.name, c.relation, c.created_at,
                    r.id AS last_test_run_id,
                    r.overall_status AS last_test_status,
                    (r.overall_status = 'passing') AS last_test_passed,
                    r.first_track AS last_test_scenario,
                    r.headline AS last_test_summary,
                    r.tested_at AS last_tested_at,
                    r.full_suite AS last_test_full_suite,
                    coalesce(t.total, 0) AS total_tests_run,
                    -- The first after the latest conclusive one. A subquery, and no join: who does not ask for it does not pay.
                    (
                        SELECT run.tested_at
                        FROM agent_compliance_runs run
                        WHERE run.triggered_org_id = c.organization_id AND run.agent_url = c.agent_url
                            AND run.triggered_org_id IS NOT NULL AND NOT run.dry_run AND run.overall_status = 'inconclusive'
                            AND (run.tested_at, run.id) > (
                                coalesce(r.tested_at, '-infinity'), coalesce(r.id, '00000000-0000-0000-0000-000000000000')
                            )
                        ORDER BY run.tested_at, run.id
                        LIMIT 1
                    ) AS inconclusive_since
                FROM agent_contexts c
                LEFT JOIN LATERAL (
                    SELECT run.id, run.overall_status, run.first_track, run.headline, run.tested_at, run.full_suite
                    FROM agent_compliance_runs run
                    WHERE run.triggered_org_id = c.organization_id AND run.agent_url = c.agent_url
                        AND run.triggered_org_id IS NOT NULL AND NOT run.dry_run AND run.overall_status <> 'inconclusive'
                    ORDER BY run.tested_at DESC, run.id DESC
                    LIMIT 1
                ) r ON true
                LEFT JOIN agent_run_totals t ON t.organization_id = c.organization_id AND t.agent_url = c.agent_url
            """)),
        ),
    ]
