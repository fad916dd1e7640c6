"""Two holes that only a mistake elsewhere would open: who records as a verified owner, and who runs a trigger's function.

A function that is fired by a trigger needs no right to be executed. With it, whoever may make a table of their own,
a temporary one suffices, could hang the function on that table and have it write as the owner, for any organization.
"""

from django.db import migrations

SQL = """
ALTER POLICY recording ON agent_compliance_runs WITH CHECK (
    (triggered_org_id = nullif((select current_setting('app.organization_id', true)), '')
     OR (triggered_org_id IS NULL AND coalesce((select current_setting('app.platform', true)), '') = 'on'))
    AND (NOT by_verified_owner OR EXISTS (SELECT 1 FROM agent_contexts c
        WHERE c.organization_id = nullif((select current_setting('app.organization_id', true)), '')
            AND c.agent_url = agent_compliance_runs.agent_url AND c.relation = 'verified_owner')));
REVOKE ALL ON FUNCTION refuse_change(), project_run(), guard_context(), count_registrations(), bury_organization()
    FROM PUBLIC;
"""


class Migration(migrations.Migration):
    dependencies = [("compliance", "0002_record")]

    operations = [migrations.RunSQL(SQL)]
