"""Monitors and the decisions about their runs; requests know their monitor and occurrence."""

import compliance.tenancy.ids
import django.db.models.deletion
import django.db.models.functions.text
import django.utils.timezone
from django.db import migrations, models


ORG = "nullif((select current_setting('app.organization_id', true)), '')"

# Rights are given anew, because default privileges gave both serving roles everything. A monitor is archived, never
# deleted but by its organization's end, and keeps whose it is; decisions are added and never changed.
RIGHTS = """
REVOKE ALL ON monitors, monitor_decisions FROM assay_app, assay_staff;
GRANT SELECT, INSERT ON monitors, monitor_decisions TO assay_app;
GRANT UPDATE (name, suite_version_id, options, dry_run, credential_choice, credential_id, interval_minutes, cron,
    timezone, anchor, state, state_reason, next_run_at, last_run_id, last_status, last_run_at, last_scheduled_run_at,
    failures_in_a_row) ON monitors TO assay_app;
GRANT SELECT ON monitors, monitor_decisions TO assay_staff;
"""

# With the organization in the key, nothing of one organization can hang on another's. A monitor outlives the agent
# that the organization no longer has, and says so when it is due (G2).
KEYS = """
ALTER TABLE agent_contexts ADD CONSTRAINT agent_contexts_of_organization UNIQUE (id, organization_id);
ALTER TABLE monitors ADD CONSTRAINT monitors_of_organization UNIQUE (id, organization_id);
ALTER TABLE monitors ADD CONSTRAINT monitors_organization_fk
    FOREIGN KEY (organization_id) REFERENCES organizations (id) ON DELETE CASCADE;
ALTER TABLE monitors ADD CONSTRAINT monitors_context_fk
    FOREIGN KEY (context_id, organization_id) REFERENCES agent_contexts (id, organization_id)
    ON DELETE SET NULL (context_id);
ALTER TABLE compliance_jobs ADD CONSTRAINT jobs_monitor_fk
    FOREIGN KEY (monitor_id, organization_id) REFERENCES monitors (id, organization_id)
    ON DELETE SET NULL (monitor_id);
COMMENT ON COLUMN monitor_decisions.organization_id IS
    'No foreign key on purpose: see agent_compliance_runs.triggered_org_id.';
"""

POLICIES = "\n".join(
    f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY; ALTER TABLE {table} FORCE ROW LEVEL SECURITY;\n"
    f"CREATE POLICY organization_own ON {table} TO assay_app"
    f" USING (organization_id = {ORG}) WITH CHECK (organization_id = {ORG});\n"
    f"CREATE POLICY staff_looks ON {table} FOR SELECT TO assay_staff USING (true);"
    for table in ("monitors", "monitor_decisions")
) + """
-- What the function below needs, and no more.
CREATE POLICY finding_due ON monitors FOR SELECT TO assay_owner USING (state = 'active');
"""

GUARDS = """
CREATE TRIGGER insert_only BEFORE UPDATE OR DELETE OR TRUNCATE ON monitor_decisions
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- What the tick looks for, and no more of it than is needed to open the right scope: the organizations of the
-- monitors that are due, the longest due first.
CREATE FUNCTION organizations_due(at_most integer) RETURNS TABLE (organization_id varchar)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
#variable_conflict use_column
BEGIN
    IF (at_most BETWEEN 1 AND 1000) IS NOT TRUE THEN
        RAISE EXCEPTION 'at_most must be 1 to 1000, not %', at_most;
    END IF;
    RETURN QUERY
        SELECT d.organization_id FROM (
            SELECT m.organization_id, m.next_run_at FROM monitors m
            WHERE m.state = 'active' AND m.next_run_at <= statement_timestamp()
                AND NOT EXISTS (SELECT 1 FROM compliance_jobs r
                    WHERE r.monitor_id = m.id AND r.state IN ('queued', 'leased'))
            ORDER BY m.next_run_at, m.id LIMIT at_most
        ) d
        GROUP BY d.organization_id ORDER BY min(d.next_run_at), d.organization_id;
END $$;
REVOKE ALL ON FUNCTION organizations_due(integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION organizations_due(integer) TO assay_app;
"""


def sql(text: str) -> migrations.RunSQL:
    return migrations.RunSQL(text)


class Migration(migrations.Migration):

    dependencies = [
        ('compliance', '0008_vault'),
    ]

    operations = [
        migrations.CreateModel(
            name='Monitor',
            fields=[
                ('id', models.UUIDField(default=compliance.tenancy.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('name', models.CharField(max_length=100)),
                ('agent_url', models.TextField()),
                ('options', models.JSONField(blank=True, default=dict)),
                ('dry_run', models.BooleanField(default=False)),
                ('credential_choice', models.CharField(choices=[('automatic', 'The one that is granted'), ('none', 'None'), ('chosen', 'A chosen one')], default='automatic', max_length=10)),
                ('credential_id', models.UUIDField(blank=True, null=True)),
                ('interval_minutes', models.PositiveIntegerField(blank=True, null=True)),
                ('cron', models.CharField(blank=True, max_length=100)),
                ('timezone', models.CharField(default='UTC', max_length=64)),
                ('anchor', models.DateTimeField(help_text='Where an interval begins to count.')),
                ('state', models.CharField(choices=[('active', 'Active'), ('paused', 'Paused'), ('parked', 'Parked'), ('archived', 'Archived')], default='active', max_length=10)),
                ('state_reason', models.CharField(blank=True, help_text='Why it is parked or paused.', max_length=300)),
                ('next_run_at', models.DateTimeField(blank=True, null=True)),
                ('last_run_id', models.UUIDField(blank=True, null=True)),
                ('last_status', models.CharField(blank=True, choices=[('passing', 'Passing'), ('partial', 'Partial'), ('failing', 'Failing'), ('inconclusive', 'Inconclusive')], max_length=14)),
                ('last_run_at', models.DateTimeField(blank=True, null=True)),
                ('last_scheduled_run_at', models.DateTimeField(blank=True, help_text='When the last one by schedule ended.', null=True)),
                ('failures_in_a_row', models.PositiveSmallIntegerField(default=0, help_text='Inconclusive runs by schedule.')),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ('created_by', models.CharField(help_text='As they were called then.', max_length=254)),
            ],
            options={
                'db_table': 'monitors',
            },
        ),
        migrations.CreateModel(
            name='MonitorDecision',
            fields=[
                ('id', models.UUIDField(default=compliance.tenancy.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('organization_id', models.CharField(max_length=68)),
                ('at', models.DateTimeField(default=django.utils.timezone.now)),
                ('monitor_id', models.UUIDField()),
                ('monitor_name', models.CharField(help_text='As it was called then.', max_length=100)),
                ('agent_url', models.TextField()),
                ('scheduled_for', models.DateTimeField(help_text='The occurrence; none when somebody asked.', null=True)),
                ('outcome', models.CharField(choices=[('allowed', 'Allowed'), ('no_agent', 'No such agent'), ('archived', 'Archived'), ('paused', 'Paused'), ('opted_out', 'Opted out'), ('concurrency', 'Too many at once'), ('cooldown', 'Too soon'), ('unavailable', 'Suite not available'), ('budget', 'Budget used up'), ('cancelled', 'Cancelled'), ('parked', 'Parked'), ('stopped', 'Paused after failures'), ('failed', 'Could not be decided')], max_length=14)),
                ('reason', models.CharField(blank=True, max_length=300)),
                ('job_id', models.UUIDField(null=True)),
                ('actor_kind', models.CharField(max_length=10)),
                ('actor_id', models.CharField(max_length=100)),
                ('actor_name', models.CharField(max_length=254)),
            ],
            options={
                'db_table': 'monitor_decisions',
            },
        ),
        migrations.RemoveConstraint(
            model_name='job',
            name='one_active_job_per_organization',
        ),
        migrations.AddField(
            model_name='job',
            name='scheduled_for',
            field=models.DateTimeField(blank=True, help_text='The occurrence of the monitor; none when somebody asked.', null=True),
        ),
        migrations.AddField(
            model_name='monitor',
            name='context',
            field=models.ForeignKey(db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='monitors', to='compliance.agentcontext'),
        ),
        migrations.AddField(
            model_name='monitor',
            name='organization',
            field=models.ForeignKey(db_constraint=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='monitors', to='compliance.organization'),
        ),
        migrations.AddField(
            model_name='monitor',
            name='suite',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='compliance.suite'),
        ),
        migrations.AddField(
            model_name='monitor',
            name='suite_version',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='compliance.suiteversion'),
        ),
        migrations.AddField(
            model_name='job',
            name='monitor',
            field=models.ForeignKey(blank=True, db_constraint=False, db_index=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='jobs', to='compliance.monitor'),
        ),
        migrations.AddIndex(
            model_name='job',
            index=models.Index(condition=models.Q(('monitor__isnull', False)), fields=['monitor', '-created_at'], name='jobs_of_monitor'),
        ),
        migrations.AddIndex(
            model_name='job',
            index=models.Index(condition=models.Q(('triggered_by', 'monitor')), fields=['organization', 'created_at'], name='jobs_of_monitors'),
        ),
        migrations.AddConstraint(
            model_name='job',
            constraint=models.UniqueConstraint(condition=models.Q(('organization__isnull', False), ('state__in', ['queued', 'leased']), models.Q(('triggered_by', 'monitor'), _negated=True)), fields=('organization', 'agent', 'suite_version', 'dry_run'), name='one_active_job_per_organization'),
        ),
        migrations.AddConstraint(
            model_name='job',
            constraint=models.UniqueConstraint(condition=models.Q(('monitor__isnull', False), ('state__in', ['queued', 'leased'])), fields=('monitor',), name='one_active_job_per_monitor'),
        ),
        migrations.AddConstraint(
            model_name='job',
            constraint=models.UniqueConstraint(condition=models.Q(models.Q(('state', 'expired'), _negated=True), ('scheduled_for__isnull', False)), fields=('monitor', 'scheduled_for'), name='one_job_per_occurrence'),
        ),
        migrations.AddConstraint(
            model_name='job',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('monitor__isnull', True), ('scheduled_for__isnull', True)), ('triggered_by', 'monitor'), _connector='OR'), name='job_monitor_only_of_monitors'),
        ),
        migrations.AddIndex(
            model_name='monitordecision',
            index=models.Index(fields=['organization_id', '-at', '-id'], name='decisions_newest'),
        ),
        migrations.AddIndex(
            model_name='monitordecision',
            index=models.Index(fields=['organization_id', 'monitor_id', '-at', '-id'], name='decisions_of_monitor'),
        ),
        migrations.AddConstraint(
            model_name='monitordecision',
            constraint=models.CheckConstraint(condition=models.Q(('outcome__in', ['allowed', 'no_agent', 'archived', 'paused', 'opted_out', 'concurrency', 'cooldown', 'unavailable', 'budget', 'cancelled', 'parked', 'stopped', 'failed'])), name='decision_outcome_known'),
        ),
        migrations.AddConstraint(
            model_name='monitordecision',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('job_id__isnull', False), ('outcome', 'allowed')), models.Q(models.Q(('outcome', 'allowed'), _negated=True), ('job_id__isnull', True)), _connector='OR'), name='decision_job_iff_allowed'),
        ),
        migrations.AddIndex(
            model_name='monitor',
            index=models.Index(condition=models.Q(('state', 'active')), fields=['next_run_at', 'id'], name='monitors_due'),
        ),
        migrations.AddIndex(
            model_name='monitor',
            index=models.Index(condition=models.Q(('state', 'active')), fields=['organization', 'next_run_at', 'id'], name='monitors_due_of_one'),
        ),
        migrations.AddConstraint(
            model_name='monitor',
            constraint=models.CheckConstraint(condition=models.Q(('state__in', ['active', 'paused', 'parked', 'archived'])), name='monitor_state_known'),
        ),
        migrations.AddConstraint(
            model_name='monitor',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('next_run_at__isnull', False), ('state', 'active')), models.Q(models.Q(('state', 'active'), _negated=True), ('next_run_at__isnull', True)), _connector='OR'), name='monitor_due_iff_active'),
        ),
        migrations.AddConstraint(
            model_name='monitor',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('cron', ''), ('interval_minutes__gte', 1), ('interval_minutes__isnull', False), ('interval_minutes__lte', 525600)), models.Q(('interval_minutes__isnull', True), models.Q(('cron', ''), _negated=True)), _connector='OR'), name='monitor_interval_or_cron'),
        ),
        migrations.AddConstraint(
            model_name='monitor',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('credential_choice', 'chosen'), ('credential_id__isnull', False)), models.Q(('credential_choice__in', ['automatic', 'none']), ('credential_id__isnull', True)), _connector='OR'), name='monitor_credential_iff_chosen'),
        ),
        migrations.AddConstraint(
            model_name='monitor',
            constraint=models.UniqueConstraint(models.F('organization'), django.db.models.functions.text.Lower('name'), condition=models.Q(('state', 'archived'), _negated=True), name='one_monitor_per_name'),
        ),
        sql(RIGHTS),
        sql(KEYS),
        sql(POLICIES),
        sql(GUARDS),
    ]
