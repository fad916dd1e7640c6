"""Tables with their columns, indexes, checks and references, and the rights that are given by default."""

import compliance.jobs.models
import compliance.tenancy.fields
import compliance.tenancy.ids
import compliance.tenancy.models
import compliance.tenancy.schema
import django.core.validators
import django.db.models.deletion
import django.db.models.functions.datetime
import django.db.models.functions.text
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

# What both serving roles may do with a table that has no Privileges of its own, Django's tables among them; with
# those that are there, and with those that come.
RIGHTS = """
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO assay_app, assay_staff;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE, SELECT ON SEQUENCES TO assay_app, assay_staff;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO assay_app, assay_staff;
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO assay_app, assay_staff;
REVOKE ALL ON django_migrations FROM assay_app, assay_staff;
GRANT SELECT ON django_migrations TO assay_app, assay_staff;
"""
NO_RIGHTS = """
ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE ALL ON TABLES FROM assay_app, assay_staff;
ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE ALL ON SEQUENCES FROM assay_app, assay_staff;
REVOKE ALL ON ALL TABLES IN SCHEMA public FROM assay_app, assay_staff;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM assay_app, assay_staff;
"""

# Django makes no partitioned tables.
EVIDENCE = """
CREATE TABLE step_evidence (
    run_id uuid NOT NULL,
    step_index smallint NOT NULL CHECK (step_index >= 0),
    recorded_at timestamptz NOT NULL,
    agent_url text NOT NULL,
    organization_id varchar(68),
    credential_organization_id varchar(68),
    request jsonb,
    response jsonb,
    pointer text NOT NULL DEFAULT '',
    PRIMARY KEY (run_id, step_index, recorded_at)
) PARTITION BY RANGE (recorded_at);
COMMENT ON COLUMN step_evidence.organization_id IS
    'The organization that caused the run. No foreign key on purpose: see agent_compliance_runs.triggered_org_id.';
"""


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('auth', '0012_alter_user_first_name_max_length'),
    ]

    operations = [
        migrations.RunSQL(RIGHTS, NO_RIGHTS),
        migrations.CreateModel(
            name='AgentContextWithLatestTest',
            fields=[
                ('id', models.UUIDField(primary_key=True, serialize=False)),
                ('organization_id', models.CharField(max_length=68)),
                ('name', models.CharField(max_length=100)),
                ('relation', models.CharField(choices=[('observer', 'Observer'), ('verified_owner', 'Verified owner')], max_length=14)),
                ('created_at', models.DateTimeField()),
                ('last_test_run_id', models.UUIDField(null=True)),
                ('last_test_status', models.CharField(choices=[('passing', 'Passing'), ('partial', 'Partial'), ('failing', 'Failing'), ('inconclusive', 'Inconclusive')], max_length=14, null=True)),
                ('last_test_passed', models.BooleanField(null=True)),
                ('last_test_scenario', models.CharField(max_length=150, null=True)),
                ('last_test_summary', models.CharField(max_length=300, null=True)),
                ('last_tested_at', models.DateTimeField(null=True)),
                ('last_test_full_suite', models.BooleanField(null=True)),
                ('total_tests_run', models.PositiveBigIntegerField()),
            ],
            options={
                'db_table': 'agent_context_with_latest_test',
                'managed': False,
            },
        ),
        migrations.CreateModel(
            name='Agent',
            fields=[
                ('agent_url', models.TextField(primary_key=True, serialize=False, verbose_name='address')),
                ('protocol', models.CharField(blank=True, choices=[('', 'Not found yet'), ('mcp', 'MCP'), ('a2a', 'A2A')], default='', max_length=10)),
                ('protocol_note', models.CharField(blank=True, help_text='What the agent said when it was asked.', max_length=300)),
                ('lifecycle_stage', models.CharField(choices=[('development', 'Development'), ('testing', 'Testing'), ('production', 'Production'), ('retired', 'Retired')], default='production', max_length=12)),
                ('heartbeat_interval_hours', models.PositiveSmallIntegerField(default=12, validators=[django.core.validators.MinValueValidator(6), django.core.validators.MaxValueValidator(168)])),
                ('opted_out', models.BooleanField(default=False, verbose_name='opted out of heartbeats')),
                ('paused', models.BooleanField(default=False, verbose_name='heartbeats paused')),
                ('registrations', models.PositiveIntegerField(default=0, editable=False)),
                ('next_heartbeat_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('last_checked_at', models.DateTimeField(blank=True, editable=False, null=True)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, editable=False)),
            ],
            options={
                'db_table': 'agents',
            },
        ),
        migrations.CreateModel(
            name='AgentContext',
            fields=[
                ('id', models.UUIDField(default=compliance.tenancy.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('name', models.CharField(max_length=100)),
                ('relation', models.CharField(choices=[('observer', 'Observer'), ('verified_owner', 'Verified owner')], default='observer', max_length=14)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, editable=False)),
            ],
            options={
                'db_table': 'agent_contexts',
            },
        ),
        migrations.CreateModel(
            name='AgentRunTotal',
            fields=[
                ('pk', models.CompositePrimaryKey('organization_id', 'agent_url', blank=True, editable=False, primary_key=True, serialize=False)),
                ('organization_id', models.CharField(max_length=68)),
                ('agent_url', models.TextField()),
                ('total', models.PositiveBigIntegerField(default=0)),
            ],
            options={
                'db_table': 'agent_run_totals',
            },
        ),
        migrations.CreateModel(
            name='ApiKey',
            fields=[
                ('id', models.UUIDField(default=compliance.tenancy.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('name', models.CharField(max_length=100)),
                ('prefix', models.CharField(help_text="The token's public part, by which people know the key.", max_length=8, unique=True)),
                ('secret_hash', models.CharField(help_text='SHA-256 of the whole token, in hex.', max_length=64, unique=True)),
                ('scopes', compliance.tenancy.fields.TextArray(help_text='Values of Scope.')),
                ('runner_id', models.UUIDField(blank=True, help_text='The runner whose key it is.', null=True)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ('created_by', models.CharField(help_text='As they were called then.', max_length=254)),
                ('expires_at', models.DateTimeField()),
                ('revoked_at', models.DateTimeField(blank=True, null=True)),
                ('revoked_by', models.CharField(blank=True, max_length=254)),
                ('last_used_at', models.DateTimeField(blank=True, help_text='To the minute.', null=True)),
            ],
            options={
                'verbose_name': 'API key',
                'db_table': 'api_keys',
            },
        ),
        migrations.CreateModel(
            name='ComplianceRun',
            fields=[
                ('id', models.UUIDField(default=compliance.tenancy.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('agent_url', models.TextField(verbose_name='agent')),
                ('triggered_by', models.CharField(choices=[('owner_test', 'Owner test'), ('observer_test', 'Observer test'), ('monitor', 'Monitor'), ('heartbeat', 'Heartbeat'), ('manual', 'Manual'), ('webhook', 'Webhook')], max_length=16)),
                ('triggered_org_id', models.CharField(blank=True, db_comment='The organization that caused the run. No foreign key on purpose: keys can come from a foreign identity system, and the history outlives an organization.', max_length=68, null=True, verbose_name='organization')),
                ('actor_kind', models.CharField(max_length=10)),
                ('actor_id', models.CharField(max_length=100)),
                ('actor_name', models.CharField(help_text='As it was when the run was recorded.', max_length=254)),
                ('executor_kind', models.CharField(choices=[('hosted', 'Hosted'), ('private', 'Private runner')], default='hosted', max_length=10)),
                ('executor_name', models.CharField(blank=True, max_length=100)),
                ('executor_id', models.UUIDField(blank=True, db_comment='The private runner. No foreign key on purpose: history outlives it.', help_text='Which private runner. No key: history outlives it.', null=True)),
                ('job_id', models.UUIDField(blank=True, null=True, unique=True)),
                ('engine', models.CharField(max_length=60)),
                ('engine_version', models.CharField(max_length=60)),
                ('protocol', models.CharField(blank=True, max_length=10)),
                ('protocol_version', models.CharField(blank=True, max_length=60)),
                ('spec_version', models.CharField(blank=True, db_default='', default='', help_text='Of the specification that the checks were written against.', max_length=60)),
                ('runtime', models.JSONField(blank=True, db_default=models.Value({}, models.JSONField()), default=dict)),
                ('credential_id', models.UUIDField(blank=True, null=True)),
                ('credential_name', models.CharField(blank=True, db_default='', default='', max_length=100)),
                ('dry_run', models.BooleanField(default=False)),
                ('full_suite', models.BooleanField(default=True, help_text='False for a run of some scenarios only: such a run moves no status.')),
                ('beside_status', models.BooleanField(db_default=False, default=False, help_text='True for a run of another suite than the one that public status is measured by: it moves no status.')),
                ('by_verified_owner', models.BooleanField(default=False, help_text='As it was when the run was recorded.')),
                ('lifecycle_stage', models.CharField(choices=[('development', 'Development'), ('testing', 'Testing'), ('production', 'Production'), ('retired', 'Retired')], max_length=12)),
                ('requested_at', models.DateTimeField()),
                ('tested_at', models.DateTimeField(help_text="When the execution ended, by the executor's clock.")),
                ('recorded_at', models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ('duration_ms', models.PositiveIntegerField()),
                ('overall_status', models.CharField(choices=[('passing', 'Passing'), ('partial', 'Partial'), ('failing', 'Failing'), ('inconclusive', 'Inconclusive')], max_length=14)),
                ('headline', models.CharField(max_length=300)),
                ('first_track', models.CharField(blank=True, max_length=150)),
                ('passed_count', models.PositiveIntegerField(default=0)),
                ('failed_count', models.PositiveIntegerField(default=0)),
                ('skipped_count', models.PositiveIntegerField(default=0)),
                ('silent_count', models.PositiveIntegerField(default=0)),
                ('not_applicable_count', models.PositiveIntegerField(default=0)),
                ('not_tested_count', models.PositiveIntegerField(default=0)),
                ('truncated', models.BooleanField(default=False)),
                ('harness_error', models.TextField(blank=True)),
                ('tracks_json', models.JSONField(default=list)),
                ('observations', models.JSONField(default=dict)),
                ('notices', models.JSONField(default=list)),
                ('moves_status', models.GeneratedField(db_persist=True, expression=models.Case(models.When(models.Q(('dry_run', False), ('full_suite', True), ('beside_status', False), ('executor_kind', 'hosted'), ('overall_status__in', ['passing', 'partial', 'failing']), models.Q(('triggered_by__in', ['heartbeat', 'manual', 'webhook']), models.Q(('by_verified_owner', True), ('triggered_by', 'owner_test')), _connector='OR')), then=models.Value(True)), default=models.Value(False)), output_field=models.BooleanField())),
            ],
            options={
                'verbose_name': 'run',
                'db_table': 'agent_compliance_runs',
            },
        ),
        migrations.CreateModel(
            name='Credential',
            fields=[
                ('id', models.UUIDField(default=compliance.tenancy.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('name', models.CharField(max_length=100)),
                ('kind', models.CharField(choices=[('bearer', 'Bearer token'), ('basic', 'User name and password'), ('api_key', 'API key in a header'), ('oauth', 'OAuth client credentials')], max_length=10)),
                ('parameters', models.JSONField(default=dict, help_text='What of it is no secret, such as the user name.')),
                ('hint', models.CharField(blank=True, help_text="The secret's last characters, if it is long enough.", max_length=4)),
                ('version', models.PositiveIntegerField(default=1, help_text='Counts how often the secret was replaced, from 1.')),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ('created_by', models.CharField(help_text='As they were called then.', max_length=254)),
                ('replaced_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('deleted_at', models.DateTimeField(blank=True, null=True)),
                ('deleted_by', models.CharField(blank=True, max_length=254)),
            ],
            options={
                'db_table': 'credentials',
            },
        ),
        migrations.CreateModel(
            name='CredentialGrant',
            fields=[
                ('id', models.UUIDField(default=compliance.tenancy.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('organization_id', models.CharField(max_length=68)),
                ('for_owner_tests', models.BooleanField(default=False)),
                ('for_monitors', models.BooleanField(default=False)),
                ('for_heartbeats', models.BooleanField(default=False)),
                ('for_private_runners', models.BooleanField(db_default=False, default=False)),
                ('context_ids', compliance.tenancy.fields.UUIDArray()),
                ('expires_at', models.DateTimeField()),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ('created_by', models.CharField(help_text='As they were called then.', max_length=254)),
                ('revoked_at', models.DateTimeField(blank=True, null=True)),
                ('revoked_by', models.CharField(blank=True, max_length=254)),
            ],
            options={
                'db_table': 'credential_grants',
            },
        ),
        migrations.CreateModel(
            name='CredentialUse',
            fields=[
                ('id', models.UUIDField(default=compliance.tenancy.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('organization_id', models.CharField(db_comment='No foreign key on purpose: see agent_compliance_runs.triggered_org_id.', max_length=68)),
                ('at', models.DateTimeField(default=django.utils.timezone.now)),
                ('sent_to', models.CharField(choices=[('agent', 'The agent'), ('token_endpoint', 'The token endpoint'), ('runner', 'A private runner')], max_length=14)),
                ('result', models.CharField(choices=[('ok', 'Used'), ('no_grant', 'No grant'), ('expired', 'Grant expired'), ('revoked', 'Grant revoked'), ('use_scope', 'Use not granted'), ('agent_scope', 'Agent not granted'), ('deleted', 'Credential deleted'), ('unreadable', 'Could not be decrypted'), ('token_failed', 'No access token')], max_length=14)),
                ('reason', models.CharField(blank=True, help_text='Why not, and what to do.', max_length=300)),
                ('credential_id', models.UUIDField()),
                ('credential_name', models.CharField(help_text='As it was called then.', max_length=100)),
                ('credential_version', models.PositiveIntegerField()),
                ('grant_id', models.UUIDField(null=True)),
                ('agent_url', models.TextField()),
                ('triggered_by', models.CharField(max_length=16)),
                ('actor_kind', models.CharField(max_length=10)),
                ('actor_id', models.CharField(max_length=100)),
                ('actor_name', models.CharField(help_text='As it was then.', max_length=254)),
                ('executor_name', models.CharField(blank=True, max_length=100)),
                ('job_id', models.UUIDField()),
                ('run_id', models.UUIDField()),
            ],
            options={
                'db_table': 'credential_uses',
            },
        ),
        migrations.CreateModel(
            name='DeletedOrganization',
            fields=[
                ('id', models.CharField(max_length=68, primary_key=True, serialize=False)),
                ('deleted_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                'db_table': 'organization_tombstones',
            },
        ),
        migrations.CreateModel(
            name='EngineHealth',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('worker', models.CharField(help_text="The worker's node name.", max_length=200)),
                ('engine', models.CharField(max_length=60)),
                ('version', models.CharField(blank=True, max_length=60)),
                ('available', models.BooleanField()),
                ('reason', models.TextField(blank=True, help_text='What is missing, and how to get it.')),
                ('runtime', models.JSONField(blank=True, default=dict)),
                ('memory_mb', models.PositiveIntegerField(default=0, help_text='What one run may take beside the worker, in MiB.')),
                ('checked_at', models.DateTimeField()),
            ],
            options={
                'verbose_name': 'engine of a worker',
                'verbose_name_plural': 'engines of workers',
                'db_table': 'engine_health',
            },
        ),
        migrations.CreateModel(
            name='Invitation',
            fields=[
                ('id', models.UUIDField(default=compliance.tenancy.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('email', models.EmailField(max_length=254)),
                ('role', models.CharField(choices=[('owner', 'Owner'), ('admin', 'Admin'), ('member', 'Member')], default='member', max_length=10)),
                ('invited_by_name', models.CharField(max_length=254)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ('expires_at', models.DateTimeField(default=compliance.tenancy.models._invitation_expiry)),
                ('accepted_at', models.DateTimeField(blank=True, null=True)),
            ],
            options={
                'db_table': 'invitations',
            },
        ),
        migrations.CreateModel(
            name='Job',
            fields=[
                ('id', models.UUIDField(default=compliance.tenancy.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('triggered_by', models.CharField(choices=[('owner_test', 'Owner test'), ('observer_test', 'Observer test'), ('monitor', 'Monitor'), ('heartbeat', 'Heartbeat'), ('manual', 'Manual'), ('webhook', 'Webhook')], max_length=16)),
                ('actor_kind', models.CharField(max_length=10)),
                ('actor_id', models.CharField(max_length=100)),
                ('actor_name', models.CharField(max_length=254)),
                ('dry_run', models.BooleanField(default=False)),
                ('options', models.JSONField(blank=True, default=dict)),
                ('credential_choice', models.CharField(choices=[('automatic', 'The one that is granted'), ('none', 'None'), ('chosen', 'A chosen one')], db_default='automatic', default='automatic', max_length=10)),
                ('credential_id', models.UUIDField(blank=True, null=True)),
                ('monitor_id', models.UUIDField(blank=True, null=True)),
                ('scheduled_for', models.DateTimeField(blank=True, help_text='The occurrence of the monitor; none when somebody asked.', null=True)),
                ('executor_kind', models.CharField(choices=[('hosted', 'Hosted'), ('private', 'Private runner')], db_default='hosted', default='hosted', max_length=10)),
                ('runner_id', models.UUIDField(blank=True, null=True)),
                ('pool', models.CharField(blank=True, db_default='', default='', max_length=60)),
                ('state', models.CharField(choices=[('queued', 'Queued'), ('leased', 'Running'), ('finished', 'Finished'), ('expired', 'Expired'), ('cancelled', 'Cancelled')], default='queued', max_length=10)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ('dispatched_at', models.DateTimeField(default=django.utils.timezone.now, help_text='When it was last sent to a worker.')),
                ('attempt', models.PositiveSmallIntegerField(default=0)),
                ('releases', models.PositiveSmallIntegerField(db_default=0, default=0, help_text='How often private runners handed it back.')),
                ('lease_token', models.UUIDField(blank=True, null=True)),
                ('lease_expires_at', models.DateTimeField(blank=True, null=True)),
                ('leased_by', models.UUIDField(blank=True, null=True)),
                ('leased_by_name', models.CharField(blank=True, db_default='', default='', max_length=100)),
                ('lease_run_id', models.UUIDField(blank=True, null=True)),
                ('finished_token', models.UUIDField(blank=True, null=True)),
                ('expires_at', models.DateTimeField(default=compliance.jobs.models.expires, help_text='When it ends if nobody serves it.')),
                ('end_reason', models.CharField(blank=True, db_default='', default='', help_text='Why it ended without a run, for its organization.', max_length=300)),
                ('started_at', models.DateTimeField(blank=True, null=True)),
                ('finished_at', models.DateTimeField(blank=True, null=True)),
                ('progress', models.JSONField(blank=True, default=dict)),
                ('run_id', models.UUIDField(blank=True, null=True)),
            ],
            options={
                'verbose_name': 'job',
                'db_table': 'compliance_jobs',
            },
        ),
        migrations.CreateModel(
            name='Membership',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('role', models.CharField(choices=[('owner', 'Owner'), ('admin', 'Admin'), ('member', 'Member')], default='member', max_length=10)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, editable=False)),
            ],
            options={
                'verbose_name': 'member',
                'db_table': 'memberships',
            },
        ),
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
                ('executor_kind', models.CharField(choices=[('hosted', 'Hosted'), ('private', 'Private runner')], db_default='hosted', default='hosted', max_length=10)),
                ('runner_id', models.UUIDField(blank=True, null=True)),
                ('pool', models.CharField(blank=True, db_default='', default='', max_length=60)),
                ('notify_priority', models.CharField(choices=[('low', 'Low'), ('normal', 'Normal'), ('high', 'High')], db_default='normal', default='normal', max_length=10)),
                ('notify_channel', models.CharField(choices=[('in_app', 'In Assay'), ('message', 'By message'), ('both', 'Both')], db_default='in_app', default='in_app', max_length=10)),
                ('notify_cooldown_seconds', models.PositiveIntegerField(db_default=3600, default=3600, help_text='The shortest time between two notifications.')),
                ('interval_minutes', models.PositiveIntegerField(blank=True, null=True)),
                ('cron', models.CharField(blank=True, max_length=100)),
                ('timezone', models.CharField(default='UTC', max_length=64)),
                ('anchor', models.DateTimeField(help_text='Where an interval begins to count.')),
                ('state', models.CharField(choices=[('active', 'Active'), ('paused', 'Paused'), ('parked', 'Parked'), ('archived', 'Archived')], default='active', max_length=10)),
                ('state_reason', models.CharField(blank=True, help_text='Why it is parked or paused.', max_length=300)),
                ('next_run_at', models.DateTimeField(blank=True, null=True)),
                ('deferred_until', models.DateTimeField(blank=True, null=True)),
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
                ('organization_id', models.CharField(db_comment='No foreign key on purpose: see agent_compliance_runs.triggered_org_id.', max_length=68)),
                ('at', models.DateTimeField(default=django.utils.timezone.now)),
                ('monitor_id', models.UUIDField()),
                ('monitor_name', models.CharField(help_text='As it was called then.', max_length=100)),
                ('agent_url', models.TextField()),
                ('scheduled_for', models.DateTimeField(help_text='The occurrence; none when somebody asked.', null=True)),
                ('outcome', models.CharField(choices=[('allowed', 'Allowed'), ('no_agent', 'No such agent'), ('archived', 'Archived'), ('paused', 'Paused'), ('opted_out', 'Opted out'), ('concurrency', 'Too many at once'), ('cooldown', 'Too soon'), ('deferred', 'Waits for its runner'), ('unavailable', 'Suite not available'), ('budget', 'Budget used up'), ('cancelled', 'Cancelled'), ('parked', 'Parked'), ('stopped', 'Paused after failures'), ('failed', 'Could not be decided')], max_length=14)),
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
        migrations.CreateModel(
            name='Notice',
            fields=[
                ('id', models.UUIDField(default=compliance.tenancy.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('organization_id', models.CharField(max_length=68)),
                ('at', models.DateTimeField(default=django.utils.timezone.now)),
                ('priority', models.CharField(choices=[('low', 'Low'), ('normal', 'Normal'), ('high', 'High')], default='normal', max_length=10)),
                ('subject', models.CharField(choices=[('runner', 'Private runner'), ('monitor', 'Monitor')], max_length=10)),
                ('subject_id', models.UUIDField()),
                ('text', models.CharField(max_length=300)),
                ('occasion', models.CharField(help_text='Each occasion has one notice.', max_length=200)),
                ('read_at', models.DateTimeField(blank=True, null=True)),
            ],
            options={
                'db_table': 'notices',
            },
        ),
        migrations.CreateModel(
            name='Organization',
            fields=[
                ('id', models.CharField(default=compliance.tenancy.ids.new_organization_id, editable=False, max_length=68, primary_key=True, serialize=False)),
                ('name', models.CharField(max_length=100)),
                ('slug', models.SlugField(max_length=60, unique=True)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, editable=False)),
            ],
            options={
                'db_table': 'organizations',
            },
        ),
        migrations.CreateModel(
            name='RejectedReport',
            fields=[
                ('id', models.UUIDField(default=compliance.tenancy.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('organization_id', models.CharField(max_length=68)),
                ('at', models.DateTimeField(default=django.utils.timezone.now)),
                ('runner_id', models.UUIDField()),
                ('runner_name', models.CharField(help_text='As it was called then.', max_length=100)),
                ('problem', models.CharField(max_length=300)),
                ('body', models.TextField(help_text='What was sent, cut.')),
            ],
            options={
                'db_table': 'rejected_reports',
            },
        ),
        migrations.CreateModel(
            name='Runner',
            fields=[
                ('id', models.UUIDField(default=compliance.tenancy.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('name', models.CharField(max_length=100)),
                ('pool', models.CharField(blank=True, help_text='Work for the pool goes to any runner in it.', max_length=60)),
                ('state', models.CharField(choices=[('active', 'Active'), ('disabled', 'Disabled'), ('deleted', 'Deleted')], default='active', max_length=10)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ('created_by', models.CharField(help_text='As they were called then.', max_length=254)),
                ('last_seen_at', models.DateTimeField(blank=True, null=True)),
                ('online_since', models.DateTimeField(blank=True, null=True)),
                ('online_until', models.DateTimeField(blank=True, help_text='Offline from then on if nothing is heard.', null=True)),
                ('offline_notified_at', models.DateTimeField(blank=True, help_text='When its organization was notified of that.', null=True)),
                ('version', models.CharField(blank=True, max_length=40)),
                ('host', models.CharField(blank=True, max_length=200)),
                ('engines', models.JSONField(blank=True, default=dict, help_text='Those that it can run, with their versions.')),
                ('clock_ahead_ms', models.BigIntegerField(default=0, help_text='How far its clock is ahead of ours.')),
                ('last_error', models.CharField(blank=True, max_length=500)),
                ('last_error_at', models.DateTimeField(blank=True, null=True)),
            ],
            options={
                'db_table': 'runners',
            },
        ),
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunSQL(EVIDENCE, "DROP TABLE step_evidence")],
            state_operations=[
                migrations.CreateModel(
                    name='StepEvidence',
                    fields=[
                        ('pk', models.CompositePrimaryKey('run_id', 'step_index', 'recorded_at', blank=True, editable=False, primary_key=True, serialize=False)),
                        ('run_id', models.UUIDField()),
                        ('step_index', models.PositiveSmallIntegerField(help_text="The step's place in the report, from 0.")),
                        ('recorded_at', models.DateTimeField()),
                        ('agent_url', models.TextField()),
                        ('organization_id', models.CharField(blank=True, db_comment='The organization that caused the run. No foreign key on purpose: see agent_compliance_runs.triggered_org_id.', max_length=68, null=True)),
                        ('credential_organization_id', models.CharField(blank=True, max_length=68, null=True)),
                        ('request', models.JSONField(null=True)),
                        ('response', models.JSONField(null=True)),
                        ('pointer', models.TextField(blank=True, default='', help_text='The failing place, a JSON pointer (RFC 6901).')),
                    ],
                    options={
                        'db_table': 'step_evidence',
                    },
                ),
            ],
        ),
        migrations.CreateModel(
            name='Suite',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('slug', models.SlugField(max_length=100, unique=True)),
                ('title', models.CharField(max_length=150)),
                ('description', models.TextField(blank=True)),
            ],
            options={
                'db_table': 'suites',
            },
        ),
        migrations.CreateModel(
            name='SuiteVersion',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('version', models.CharField(max_length=40)),
                ('engine', models.CharField(max_length=60)),
                ('definition', models.JSONField(help_text='Tracks, scenarios and options, as the engine reads them.')),
                ('published_at', models.DateTimeField(default=django.utils.timezone.now, editable=False)),
            ],
            options={
                'db_table': 'suite_versions',
            },
        ),
        migrations.CreateModel(
            name='SystemScopeUse',
            fields=[
                ('id', models.UUIDField(default=compliance.tenancy.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('actor_kind', models.CharField(max_length=10)),
                ('actor_id', models.CharField(max_length=100)),
                ('actor_name', models.CharField(max_length=254)),
                ('reason', models.CharField(max_length=300)),
                ('what', models.CharField(blank=True, max_length=500)),
                ('at', models.DateTimeField(db_index=True, default=django.utils.timezone.now)),
            ],
            options={
                'verbose_name': 'access record',
                'verbose_name_plural': 'access records',
                'db_table': 'system_scope_uses',
                'ordering': ['-at', '-id'],
            },
        ),
        migrations.CreateModel(
            name='TickCounter',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=40)),
                ('label', models.CharField(max_length=60)),
                ('value', models.BigIntegerField()),
            ],
            options={
                'db_table': 'tick_counters',
            },
        ),
        migrations.CreateModel(
            name='TickPhase',
            fields=[
                ('name', models.CharField(max_length=40, primary_key=True, serialize=False)),
                ('made_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('last_started_at', models.DateTimeField(null=True)),
                ('last_completed_at', models.DateTimeField(help_text='A phase that failed is not completed.', null=True)),
                ('last_duration_ms', models.PositiveIntegerField(help_text='Of the last one that was completed.', null=True)),
                ('last_failed_at', models.DateTimeField(null=True)),
                ('last_error', models.CharField(db_default='', help_text='Its kind; the log has the rest.', max_length=100)),
            ],
            options={
                'verbose_name': 'phase of the tick',
                'verbose_name_plural': 'phases of the tick',
                'db_table': 'tick_phases',
            },
        ),
        migrations.CreateModel(
            name='WebhookDelivery',
            fields=[
                ('id', models.UUIDField(default=compliance.tenancy.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('source', models.CharField(max_length=60)),
                ('delivery_id', models.CharField(help_text='As its source calls it: the webhook-id.', max_length=200)),
                ('received_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False, help_text="By the database's clock.")),
                ('kind', models.CharField(help_text='The type of the event.', max_length=100)),
                ('agent_url', models.TextField(blank=True, verbose_name='agent')),
                ('outcome', models.CharField(choices=[('requested', 'A test was requested'), ('under_way', 'A test was under way'), ('cooldown', 'Too soon after the last one'), ('unknown_agent', 'Nobody has the agent'), ('opted_out', 'The agent is opted out'), ('paused', 'The agent is paused'), ('not_visited', 'The agent is in development or retired'), ('ignored', 'Not a kind of event that is acted on')], max_length=20)),
            ],
            options={
                'verbose_name': 'webhook delivery',
                'verbose_name_plural': 'webhook deliveries',
                'db_table': 'webhook_deliveries',
            },
        ),
        migrations.CreateModel(
            name='User',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('password', models.CharField(max_length=128, verbose_name='password')),
                ('last_login', models.DateTimeField(blank=True, null=True, verbose_name='last login')),
                ('is_superuser', models.BooleanField(default=False, help_text='Designates that this user has all permissions without explicitly assigning them.', verbose_name='superuser status')),
                ('is_staff', models.BooleanField(default=False, help_text='Designates whether the user can log into this admin site.', verbose_name='staff status')),
                ('is_active', models.BooleanField(default=True, help_text='Designates whether this user should be treated as active. Unselect this instead of deleting accounts.', verbose_name='active')),
                ('date_joined', models.DateTimeField(default=django.utils.timezone.now, verbose_name='date joined')),
                ('email', models.EmailField(max_length=254, unique=True, verbose_name='e-mail address')),
                ('name', models.CharField(blank=True, max_length=100, verbose_name='name')),
                ('groups', models.ManyToManyField(blank=True, help_text='The groups this user belongs to. A user will get all permissions granted to each of their groups.', related_name='user_set', related_query_name='user', to='auth.group', verbose_name='groups')),
                ('user_permissions', models.ManyToManyField(blank=True, help_text='Specific permissions for this user.', related_name='user_set', related_query_name='user', to='auth.permission', verbose_name='user permissions')),
            ],
            options={
                'db_table': 'users',
            },
        ),
        migrations.CreateModel(
            name='AgentStatus',
            fields=[
                ('agent', models.OneToOneField(db_column='agent_url', on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='status', serialize=False, to='compliance.agent')),
                ('status', models.CharField(choices=[('passing', 'Passing'), ('partial', 'Partial'), ('failing', 'Failing'), ('inconclusive', 'Inconclusive')], max_length=14)),
                ('since', models.DateTimeField(help_text='The first run of the unbroken streak of this status.')),
                ('last_run_id', models.UUIDField()),
                ('last_run_at', models.DateTimeField()),
                ('last_passed_at', models.DateTimeField(null=True)),
                ('last_failed_at', models.DateTimeField(null=True)),
            ],
            options={
                'db_table': 'agent_status',
            },
        ),
        migrations.AddIndex(
            model_name='agent',
            index=models.Index(condition=models.Q(('lifecycle_stage__in', ('testing', 'production')), ('opted_out', False), ('paused', False), ('registrations__gt', 0)), fields=['next_heartbeat_at', 'agent_url'], name='agents_due'),
        ),
        migrations.AddConstraint(
            model_name='agent',
            constraint=models.CheckConstraint(condition=models.Q(('agent_url__length__lte', 2048), ('agent_url__regex', '^https?://[^/@\\s]+/')), name='agent_url_shape'),
        ),
        migrations.AddConstraint(
            model_name='agent',
            constraint=models.CheckConstraint(condition=models.Q(('heartbeat_interval_hours__gte', 6), ('heartbeat_interval_hours__lte', 168)), name='agent_interval_range'),
        ),
        migrations.AddConstraint(
            model_name='agent',
            constraint=models.CheckConstraint(condition=models.Q(('lifecycle_stage__in', ['development', 'testing', 'production', 'retired'])), name='agent_lifecycle_stage_known'),
        ),
        migrations.AddConstraint(
            model_name='agent',
            constraint=models.CheckConstraint(condition=models.Q(('protocol__in', ['', 'mcp', 'a2a'])), name='agent_protocol_known'),
        ),
        migrations.AddField(
            model_name='agentcontext',
            name='agent',
            field=models.ForeignKey(db_column='agent_url', on_delete=django.db.models.deletion.PROTECT, related_name='contexts', to='compliance.agent'),
        ),
        migrations.CreateModel(
            name='CredentialSecret',
            fields=[
                ('credential', models.OneToOneField(db_constraint=False, on_delete=django.db.models.deletion.DO_NOTHING, primary_key=True, related_name='+', serialize=False, to='compliance.credential')),
                ('organization_id', models.CharField(max_length=68)),
                ('version', models.PositiveIntegerField()),
                ('sealed', models.TextField()),
                ('sealed_token', models.TextField(blank=True)),
                ('token_expires_at', models.DateTimeField(null=True)),
            ],
            options={
                'db_table': 'credential_secrets',
            },
        ),
        migrations.AddField(
            model_name='credentialgrant',
            name='credential',
            field=models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='grants', to='compliance.credential'),
        ),
        migrations.AddIndex(
            model_name='credentialuse',
            index=models.Index(fields=['organization_id', '-at', '-id'], name='uses_newest'),
        ),
        migrations.AddIndex(
            model_name='credentialuse',
            index=models.Index(fields=['organization_id', 'credential_id', '-at', '-id'], name='uses_of_credential'),
        ),
        migrations.AddIndex(
            model_name='credentialuse',
            index=models.Index(fields=['organization_id', 'agent_url', '-at', '-id'], name='uses_of_agent'),
        ),
        migrations.AddConstraint(
            model_name='credentialuse',
            constraint=models.CheckConstraint(condition=models.Q(('result__in', ['ok', 'no_grant', 'expired', 'revoked', 'use_scope', 'agent_scope', 'deleted', 'unreadable', 'token_failed'])), name='use_result_known'),
        ),
        migrations.AddConstraint(
            model_name='credentialuse',
            constraint=models.CheckConstraint(condition=models.Q(('sent_to__in', ['agent', 'token_endpoint', 'runner'])), name='use_sent_to_known'),
        ),
        migrations.AddConstraint(
            model_name='enginehealth',
            constraint=models.UniqueConstraint(fields=('worker', 'engine'), name='one_health_of_engine_and_worker'),
        ),
        migrations.AddField(
            model_name='invitation',
            name='invited_by',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name='job',
            name='agent',
            field=models.ForeignKey(db_column='agent_url', db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='compliance.agent'),
        ),
        migrations.AddField(
            model_name='membership',
            name='user',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='memberships', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name='monitor',
            name='context',
            field=models.ForeignKey(db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='monitors', to='compliance.agentcontext'),
        ),
        migrations.AddIndex(
            model_name='monitordecision',
            index=models.Index(fields=['organization_id', '-at', '-id'], name='decisions_newest'),
        ),
        migrations.AddIndex(
            model_name='monitordecision',
            index=models.Index(fields=['organization_id', 'monitor_id', '-at', '-id'], name='decisions_of_monitor'),
        ),
        migrations.AddIndex(
            model_name='monitordecision',
            index=models.Index(fields=['-at', '-id'], name='decisions_newest_of_all'),
        ),
        migrations.AddConstraint(
            model_name='monitordecision',
            constraint=models.CheckConstraint(condition=models.Q(('outcome__in', ['allowed', 'no_agent', 'archived', 'paused', 'opted_out', 'concurrency', 'cooldown', 'deferred', 'unavailable', 'budget', 'cancelled', 'parked', 'stopped', 'failed'])), name='decision_outcome_known'),
        ),
        migrations.AddConstraint(
            model_name='monitordecision',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('job_id__isnull', False), ('outcome', 'allowed')), models.Q(models.Q(('outcome', 'allowed'), _negated=True), ('job_id__isnull', True)), _connector='OR'), name='decision_job_iff_allowed'),
        ),
        migrations.AddIndex(
            model_name='notice',
            index=models.Index(fields=['organization_id', '-at', '-id'], name='notices_newest'),
        ),
        migrations.AddIndex(
            model_name='notice',
            index=models.Index(condition=models.Q(('read_at', None)), fields=['organization_id'], name='notices_unread'),
        ),
        migrations.AddConstraint(
            model_name='notice',
            constraint=models.UniqueConstraint(fields=('organization_id', 'occasion'), name='one_notice_per_occasion'),
        ),
        migrations.AddConstraint(
            model_name='notice',
            constraint=models.CheckConstraint(condition=models.Q(('priority__in', ['low', 'normal', 'high'])), name='notice_priority_known'),
        ),
        migrations.AddConstraint(
            model_name='notice',
            constraint=models.CheckConstraint(condition=models.Q(('subject__in', ['runner', 'monitor'])), name='notice_subject_known'),
        ),
        migrations.AddConstraint(
            model_name='organization',
            constraint=models.CheckConstraint(condition=models.Q(('id__regex', '^org_[A-Za-z0-9_-]{1,64}$')), name='organization_id_shape'),
        ),
        migrations.AddField(
            model_name='monitor',
            name='organization',
            field=models.ForeignKey(db_constraint=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='monitors', to='compliance.organization'),
        ),
        migrations.AddField(
            model_name='membership',
            name='organization',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='memberships', to='compliance.organization'),
        ),
        migrations.AddField(
            model_name='job',
            name='organization',
            field=models.ForeignKey(blank=True, db_index=False, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='jobs', to='compliance.organization'),
        ),
        migrations.AddField(
            model_name='invitation',
            name='organization',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='invitations', to='compliance.organization'),
        ),
        migrations.AddField(
            model_name='credential',
            name='organization',
            field=models.ForeignKey(db_constraint=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='credentials', to='compliance.organization'),
        ),
        migrations.AddField(
            model_name='apikey',
            name='organization',
            field=models.ForeignKey(db_constraint=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='api_keys', to='compliance.organization'),
        ),
        migrations.AddField(
            model_name='agentcontext',
            name='organization',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='agent_contexts', to='compliance.organization'),
        ),
        migrations.AddField(
            model_name='rejectedreport',
            name='job',
            field=models.OneToOneField(db_constraint=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='rejected_report', to='compliance.job'),
        ),
        migrations.AddField(
            model_name='runner',
            name='organization',
            field=models.ForeignKey(db_constraint=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='runners', to='compliance.organization'),
        ),
        migrations.AddField(
            model_name='monitor',
            name='suite',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='compliance.suite'),
        ),
        migrations.AddField(
            model_name='suiteversion',
            name='suite',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='versions', to='compliance.suite'),
        ),
        migrations.AddField(
            model_name='suite',
            name='current_version',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='compliance.suiteversion'),
        ),
        migrations.AddField(
            model_name='monitor',
            name='suite_version',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='compliance.suiteversion'),
        ),
        migrations.AddField(
            model_name='job',
            name='suite_version',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='compliance.suiteversion'),
        ),
        migrations.AddField(
            model_name='compliancerun',
            name='suite_version',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='compliance.suiteversion'),
        ),
        migrations.AddConstraint(
            model_name='tickcounter',
            constraint=models.UniqueConstraint(fields=('name', 'label'), name='one_counter_per_label'),
        ),
        migrations.AddField(
            model_name='webhookdelivery',
            name='job',
            field=models.ForeignKey(blank=True, db_index=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='compliance.job'),
        ),
        migrations.AddIndex(
            model_name='credentialgrant',
            index=models.Index(fields=['credential', 'created_at', 'id'], name='grants_of_credential'),
        ),
        migrations.AddIndex(
            model_name='credentialgrant',
            index=models.Index(condition=models.Q(('revoked_at', None)), fields=['organization_id', 'created_at', 'id'], name='grants_standing'),
        ),
        migrations.AddConstraint(
            model_name='credentialgrant',
            constraint=models.CheckConstraint(condition=models.Q(('for_owner_tests', True), ('for_monitors', True), ('for_heartbeats', True), _connector='OR'), name='grant_for_something'),
        ),
        migrations.AddConstraint(
            model_name='credentialgrant',
            constraint=compliance.tenancy.schema.Check(condition='isfinite(expires_at) AND expires_at > created_at', name='grant_ends'),
        ),
        migrations.AddConstraint(
            model_name='credentialgrant',
            constraint=compliance.tenancy.schema.Check(condition='cardinality(context_ids) BETWEEN 1 AND 1000', name='grant_names_agents'),
        ),
        migrations.AddConstraint(
            model_name='membership',
            constraint=models.UniqueConstraint(fields=('organization', 'user'), name='one_membership_per_user'),
        ),
        migrations.AddConstraint(
            model_name='membership',
            constraint=models.CheckConstraint(condition=models.Q(('role__in', ['owner', 'admin', 'member'])), name='membership_role_known'),
        ),
        migrations.AddConstraint(
            model_name='invitation',
            constraint=models.UniqueConstraint(models.F('organization'), django.db.models.functions.text.Lower('email'), condition=models.Q(('accepted_at__isnull', True)), name='one_open_invitation_per_email'),
        ),
        migrations.AddConstraint(
            model_name='invitation',
            constraint=models.CheckConstraint(condition=models.Q(('role__in', ['owner', 'admin', 'member'])), name='invitation_role_known'),
        ),
        migrations.AddConstraint(
            model_name='credential',
            constraint=models.UniqueConstraint(models.F('organization'), django.db.models.functions.text.Lower('name'), condition=models.Q(('deleted_at__isnull', True)), name='one_credential_per_name'),
        ),
        migrations.AddConstraint(
            model_name='credential',
            constraint=models.CheckConstraint(condition=models.Q(('kind__in', ['bearer', 'basic', 'api_key', 'oauth'])), name='credential_kind_known'),
        ),
        migrations.AddConstraint(
            model_name='credential',
            constraint=models.UniqueConstraint(fields=('id', 'organization'), name='credentials_of_organization'),
        ),
        migrations.AddIndex(
            model_name='apikey',
            index=models.Index(fields=['organization', '-created_at', '-id'], name='keys_newest'),
        ),
        migrations.AddIndex(
            model_name='apikey',
            index=models.Index(condition=models.Q(('runner_id__isnull', False)), fields=['organization', 'runner_id'], name='keys_of_runner'),
        ),
        migrations.AddConstraint(
            model_name='apikey',
            constraint=models.CheckConstraint(condition=models.Q(('prefix__regex', '^[0-9A-Za-z]{8}$')), name='key_prefix_shape'),
        ),
        migrations.AddConstraint(
            model_name='apikey',
            constraint=models.CheckConstraint(condition=models.Q(('secret_hash__regex', '^[0-9a-f]{64}$')), name='key_hash_shape'),
        ),
        migrations.AddConstraint(
            model_name='apikey',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('revoked_at__isnull', True), ('revoked_by', '')), ('revoked_at__isnull', False), _connector='OR'), name='key_revoked_by_iff_revoked'),
        ),
        migrations.AddConstraint(
            model_name='apikey',
            constraint=compliance.tenancy.schema.Check(condition='isfinite(expires_at) AND expires_at > created_at', name='key_ends'),
        ),
        migrations.AddConstraint(
            model_name='apikey',
            constraint=compliance.tenancy.schema.Check(condition="cardinality(scopes) > 0 AND array_position(scopes, NULL) IS NULL AND scopes <@ ARRAY['read', 'test', 'manage', 'runner']", name='key_scopes_known'),
        ),
        migrations.AddConstraint(
            model_name='apikey',
            constraint=compliance.tenancy.schema.Check(condition="CASE WHEN runner_id IS NULL THEN NOT 'runner' = ANY (scopes) ELSE scopes = ARRAY['runner'] END", name='key_of_runner_iff_scope_runner'),
        ),
        migrations.AddConstraint(
            model_name='agentcontext',
            constraint=models.UniqueConstraint(fields=('organization', 'agent'), name='one_context_per_agent'),
        ),
        migrations.AddConstraint(
            model_name='agentcontext',
            constraint=models.CheckConstraint(condition=models.Q(('relation__in', ['observer', 'verified_owner'])), name='context_relation_known'),
        ),
        migrations.AddConstraint(
            model_name='agentcontext',
            constraint=models.UniqueConstraint(fields=('id', 'organization'), name='agent_contexts_of_organization'),
        ),
        migrations.AddIndex(
            model_name='runner',
            index=models.Index(condition=models.Q(('state', 'active')), fields=['online_until'], name='runners_gone'),
        ),
        migrations.AddIndex(
            model_name='runner',
            index=models.Index(condition=models.Q(('state', 'active')), fields=['organization', 'pool'], name='runners_of_pool'),
        ),
        migrations.AddConstraint(
            model_name='runner',
            constraint=models.CheckConstraint(condition=models.Q(('state__in', ['active', 'disabled', 'deleted'])), name='runner_state_known'),
        ),
        migrations.AddConstraint(
            model_name='runner',
            constraint=models.CheckConstraint(condition=models.Q(('pool', ''), ('pool__regex', '^[a-z0-9][a-z0-9-]{0,59}$'), _connector='OR'), name='runner_pool_shape'),
        ),
        migrations.AddConstraint(
            model_name='runner',
            constraint=models.UniqueConstraint(models.F('organization'), django.db.models.functions.text.Lower('name'), condition=models.Q(('state', 'deleted'), _negated=True), name='one_runner_per_name'),
        ),
        migrations.AddConstraint(
            model_name='runner',
            constraint=models.UniqueConstraint(fields=('id', 'organization'), name='runners_of_organization'),
        ),
        migrations.AddConstraint(
            model_name='suiteversion',
            constraint=models.UniqueConstraint(fields=('suite', 'version'), name='one_suite_version'),
        ),
        migrations.AddIndex(
            model_name='monitor',
            index=models.Index(condition=models.Q(('state', 'active')), fields=['next_run_at', 'id'], name='monitors_due'),
        ),
        migrations.AddIndex(
            model_name='monitor',
            index=models.Index(condition=models.Q(('state', 'active')), fields=['organization', 'next_run_at', 'id'], name='monitors_due_of_one'),
        ),
        migrations.AddIndex(
            model_name='monitor',
            index=models.Index(fields=['-created_at', '-id'], name='monitors_newest'),
        ),
        migrations.AddIndex(
            model_name='monitor',
            index=models.Index(condition=models.Q(('runner_id__isnull', False)), fields=['runner_id'], name='monitors_of_runner'),
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
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('executor_kind', 'hosted'), ('pool', ''), ('runner_id__isnull', True)), models.Q(('executor_kind', 'private'), ('pool', ''), ('runner_id__isnull', False)), models.Q(('executor_kind', 'private'), ('runner_id__isnull', True), models.Q(('pool', ''), _negated=True)), _connector='OR'), name='monitor_pinned_iff_private'),
        ),
        migrations.AddConstraint(
            model_name='monitor',
            constraint=models.CheckConstraint(condition=models.Q(('notify_priority__in', ['low', 'normal', 'high'])), name='monitor_priority_known'),
        ),
        migrations.AddConstraint(
            model_name='monitor',
            constraint=models.CheckConstraint(condition=models.Q(('notify_channel__in', ['in_app', 'message', 'both'])), name='monitor_channel_known'),
        ),
        migrations.AddConstraint(
            model_name='monitor',
            constraint=models.CheckConstraint(condition=models.Q(('notify_cooldown_seconds__lte', 604800)), name='monitor_cooldown_range'),
        ),
        migrations.AddConstraint(
            model_name='monitor',
            constraint=models.UniqueConstraint(models.F('organization'), django.db.models.functions.text.Lower('name'), condition=models.Q(('state', 'archived'), _negated=True), name='one_monitor_per_name'),
        ),
        migrations.AddConstraint(
            model_name='monitor',
            constraint=models.UniqueConstraint(fields=('id', 'organization'), name='monitors_of_organization'),
        ),
        migrations.AddIndex(
            model_name='job',
            index=models.Index(condition=models.Q(('state__in', ['queued', 'leased'])), fields=['state', 'created_at'], name='jobs_active'),
        ),
        migrations.AddIndex(
            model_name='job',
            index=models.Index(fields=['organization', 'agent', '-created_at'], name='jobs_of_agent'),
        ),
        migrations.AddIndex(
            model_name='job',
            index=models.Index(fields=['agent'], name='jobs_of_url'),
        ),
        migrations.AddIndex(
            model_name='job',
            index=models.Index(condition=models.Q(('state__in', ['queued', 'leased'])), fields=['organization', 'agent'], name='jobs_in_flight'),
        ),
        migrations.AddIndex(
            model_name='job',
            index=models.Index(fields=['-created_at', '-id'], name='jobs_newest'),
        ),
        migrations.AddIndex(
            model_name='job',
            index=models.Index(condition=models.Q(('monitor_id__isnull', False)), fields=['monitor_id', '-created_at'], name='jobs_of_monitor'),
        ),
        migrations.AddIndex(
            model_name='job',
            index=models.Index(condition=models.Q(('triggered_by', 'monitor')), fields=['organization', 'created_at'], name='jobs_of_monitors'),
        ),
        migrations.AddIndex(
            model_name='job',
            index=models.Index(condition=models.Q(('executor_kind', 'private'), ('state__in', ['queued', 'leased'])), fields=['organization', 'created_at', 'id'], name='jobs_private'),
        ),
        migrations.AddIndex(
            model_name='job',
            index=models.Index(condition=models.Q(('state__in', ['queued', 'leased'])), fields=['expires_at'], name='jobs_expiring'),
        ),
        migrations.AddConstraint(
            model_name='job',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('organization__isnull', False), ('triggered_by__in', ['owner_test', 'observer_test', 'monitor'])), models.Q(('organization__isnull', True), ('triggered_by__in', ['heartbeat', 'manual', 'webhook'])), _connector='OR'), name='job_organization_iff_it_caused_it'),
        ),
        migrations.AddConstraint(
            model_name='job',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('lease_expires_at__isnull', False), ('lease_token__isnull', False), ('state', 'leased')), models.Q(models.Q(('state', 'leased'), _negated=True), ('lease_expires_at__isnull', True), ('lease_token__isnull', True)), _connector='OR'), name='job_lease_iff_leased'),
        ),
        migrations.AddConstraint(
            model_name='job',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('state', 'finished'), ('run_id__isnull', False)), models.Q(models.Q(('state', 'finished'), _negated=True), ('run_id__isnull', True)), _connector='OR'), name='job_run_iff_finished'),
        ),
        migrations.AddConstraint(
            model_name='job',
            constraint=models.CheckConstraint(condition=models.Q(('state__in', ['queued', 'leased', 'finished', 'expired', 'cancelled'])), name='job_state_known'),
        ),
        migrations.AddConstraint(
            model_name='job',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('credential_choice', 'chosen'), ('credential_id__isnull', False)), models.Q(('credential_choice__in', ['automatic', 'none']), ('credential_id__isnull', True)), _connector='OR'), name='job_credential_iff_chosen'),
        ),
        migrations.AddConstraint(
            model_name='job',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('executor_kind', 'hosted'), ('pool', ''), ('runner_id__isnull', True)), models.Q(('executor_kind', 'private'), ('organization__isnull', False), ('pool', ''), ('runner_id__isnull', False)), models.Q(('executor_kind', 'private'), ('organization__isnull', False), ('runner_id__isnull', True), models.Q(('pool', ''), _negated=True)), _connector='OR'), name='job_pinned_iff_private'),
        ),
        migrations.AddConstraint(
            model_name='job',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('state', 'leased'), _negated=True), models.Q(('executor_kind', 'hosted'), ('leased_by__isnull', True)), models.Q(('executor_kind', 'private'), ('lease_run_id__isnull', False), ('leased_by__isnull', False)), _connector='OR'), name='job_leased_by_its_kind'),
        ),
        migrations.AddConstraint(
            model_name='job',
            constraint=models.UniqueConstraint(condition=models.Q(('organization__isnull', False), ('state__in', ['queued', 'leased']), models.Q(('triggered_by', 'monitor'), _negated=True)), fields=('organization', 'agent', 'suite_version', 'dry_run'), name='one_active_job_per_organization'),
        ),
        migrations.AddConstraint(
            model_name='job',
            constraint=models.UniqueConstraint(condition=models.Q(('monitor_id__isnull', False), ('state__in', ['queued', 'leased'])), fields=('monitor_id',), name='one_active_job_per_monitor'),
        ),
        migrations.AddConstraint(
            model_name='job',
            constraint=models.UniqueConstraint(condition=models.Q(models.Q(('state', 'expired'), _negated=True), ('scheduled_for__isnull', False)), fields=('monitor_id', 'scheduled_for'), name='one_job_per_occurrence'),
        ),
        migrations.AddConstraint(
            model_name='job',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('monitor_id__isnull', True), ('scheduled_for__isnull', True)), ('triggered_by', 'monitor'), _connector='OR'), name='job_monitor_only_of_monitors'),
        ),
        migrations.AddConstraint(
            model_name='job',
            constraint=models.UniqueConstraint(condition=models.Q(('organization__isnull', True), ('state__in', ['queued', 'leased'])), fields=('agent', 'suite_version', 'triggered_by'), name='one_active_job_of_platform'),
        ),
        migrations.AddConstraint(
            model_name='job',
            constraint=models.UniqueConstraint(fields=('id', 'organization'), name='jobs_of_organization'),
        ),
        migrations.AddIndex(
            model_name='compliancerun',
            index=models.Index(models.F('triggered_org_id'), models.F('agent_url'), models.OrderBy(models.F('tested_at'), descending=True), models.OrderBy(models.F('id'), descending=True), condition=models.Q(('dry_run', False), ('triggered_org_id__isnull', False), models.Q(('overall_status', 'inconclusive'), _negated=True)), include=('overall_status',), name='runs_last_test'),
        ),
        migrations.AddIndex(
            model_name='compliancerun',
            index=models.Index(models.F('triggered_org_id'), models.F('agent_url'), models.OrderBy(models.F('tested_at'), descending=True), models.OrderBy(models.F('id'), descending=True), condition=models.Q(('triggered_org_id__isnull', False)), name='runs_own_history'),
        ),
        migrations.AddIndex(
            model_name='compliancerun',
            index=models.Index(models.F('triggered_org_id'), models.OrderBy(models.F('tested_at'), descending=True), models.OrderBy(models.F('id'), descending=True), condition=models.Q(('triggered_org_id__isnull', False)), name='runs_own_newest'),
        ),
        migrations.AddIndex(
            model_name='compliancerun',
            index=models.Index(models.F('triggered_org_id'), models.F('executor_id'), models.OrderBy(models.F('tested_at'), descending=True), models.OrderBy(models.F('id'), descending=True), condition=models.Q(('executor_id__isnull', False)), name='runs_of_runner'),
        ),
        migrations.AddIndex(
            model_name='compliancerun',
            index=models.Index(models.F('agent_url'), models.OrderBy(models.F('tested_at'), descending=True), models.OrderBy(models.F('id'), descending=True), condition=models.Q(('triggered_org_id__isnull', True)), name='runs_platform_history'),
        ),
        migrations.AddIndex(
            model_name='compliancerun',
            index=models.Index(models.F('agent_url'), models.F('overall_status'), models.OrderBy(models.F('tested_at'), descending=True), models.OrderBy(models.F('id'), descending=True), condition=models.Q(('moves_status', True)), name='runs_moving_status'),
        ),
        migrations.AddIndex(
            model_name='compliancerun',
            index=models.Index(models.OrderBy(models.F('tested_at'), descending=True), models.OrderBy(models.F('id'), descending=True), name='runs_newest'),
        ),
        migrations.AddConstraint(
            model_name='compliancerun',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('triggered_by__in', ['owner_test', 'observer_test', 'monitor']), ('triggered_org_id__isnull', False)), models.Q(('triggered_by__in', ['heartbeat', 'manual', 'webhook']), ('triggered_org_id__isnull', True)), _connector='OR'), name='run_organization_iff_it_caused_it'),
        ),
        migrations.AddConstraint(
            model_name='compliancerun',
            constraint=models.CheckConstraint(condition=models.Q(('triggered_org_id__isnull', True), ('triggered_org_id__regex', '^org_[A-Za-z0-9_-]{1,64}$'), _connector='OR'), name='run_organization_shape'),
        ),
        migrations.AddConstraint(
            model_name='compliancerun',
            constraint=models.CheckConstraint(condition=models.Q(('overall_status__in', ['passing', 'partial', 'failing', 'inconclusive'])), name='run_status_known'),
        ),
        migrations.AddConstraint(
            model_name='compliancerun',
            constraint=models.CheckConstraint(condition=models.Q(('executor_kind__in', ['hosted', 'private'])), name='run_executor_known'),
        ),
        migrations.AddConstraint(
            model_name='compliancerun',
            constraint=models.CheckConstraint(condition=models.Q(('executor_kind', 'hosted'), ('triggered_org_id__isnull', False), _connector='OR'), name='run_private_executor_has_organization'),
        ),
        migrations.AddConstraint(
            model_name='compliancerun',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('harness_error', ''), ('truncated', False)), ('overall_status', 'inconclusive'), _connector='OR'), name='run_cut_short_is_inconclusive'),
        ),
        migrations.AddIndex(
            model_name='webhookdelivery',
            index=models.Index(fields=['-received_at', '-id'], name='deliveries_newest'),
        ),
        migrations.AddIndex(
            model_name='webhookdelivery',
            index=models.Index(fields=['agent_url', '-received_at', '-id'], name='deliveries_of_agent'),
        ),
        migrations.AddConstraint(
            model_name='webhookdelivery',
            constraint=models.UniqueConstraint(fields=('delivery_id', 'source'), name='one_answer_per_delivery'),
        ),
        migrations.AddConstraint(
            model_name='webhookdelivery',
            constraint=models.CheckConstraint(condition=models.Q(('outcome__in', ['requested', 'under_way', 'cooldown', 'unknown_agent', 'opted_out', 'paused', 'not_visited', 'ignored'])), name='delivery_outcome_known'),
        ),
        migrations.AddConstraint(
            model_name='webhookdelivery',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('job__isnull', False), ('outcome__in', ['requested', 'under_way'])), models.Q(models.Q(('outcome__in', ['requested', 'under_way']), _negated=True), ('job__isnull', True)), _connector='OR'), name='delivery_job_iff_tested'),
        ),
        migrations.AddConstraint(
            model_name='webhookdelivery',
            constraint=models.CheckConstraint(condition=models.Q(('agent_url__length__lte', 2048)), name='delivery_url_length'),
        ),
        migrations.AddConstraint(
            model_name='notice',
            constraint=compliance.tenancy.schema.Reference(columns='organization_id', name='notices_organization_fk', on_delete='CASCADE', to='organizations (id)'),
        ),
        migrations.AddConstraint(
            model_name='credentialsecret',
            constraint=compliance.tenancy.schema.Reference(columns='credential_id, organization_id', name='credential_secrets_credential_fk', on_delete='CASCADE', to='credentials (id, organization_id)'),
        ),
        migrations.AddConstraint(
            model_name='credentialgrant',
            constraint=compliance.tenancy.schema.Reference(columns='credential_id, organization_id', name='credential_grants_credential_fk', on_delete='CASCADE', to='credentials (id, organization_id)'),
        ),
        migrations.AddConstraint(
            model_name='credential',
            constraint=compliance.tenancy.schema.Reference(columns='organization_id', name='credentials_organization_fk', on_delete='CASCADE', to='organizations (id)'),
        ),
        migrations.AddConstraint(
            model_name='apikey',
            constraint=compliance.tenancy.schema.Reference(columns='organization_id', name='api_keys_organization_fk', on_delete='CASCADE', to='organizations (id)'),
        ),
        migrations.AddConstraint(
            model_name='rejectedreport',
            constraint=compliance.tenancy.schema.Reference(columns='job_id, organization_id', name='rejected_reports_job_fk', on_delete='CASCADE', to='compliance_jobs (id, organization_id)'),
        ),
        migrations.AddConstraint(
            model_name='runner',
            constraint=compliance.tenancy.schema.Reference(columns='organization_id', name='runners_organization_fk', on_delete='CASCADE', to='organizations (id)'),
        ),
        migrations.AddConstraint(
            model_name='runner',
            constraint=compliance.tenancy.schema.Reference(columns='runner_id, organization_id', name='api_keys_runner_fk', table='api_keys', to='runners (id, organization_id)'),
        ),
        migrations.AddConstraint(
            model_name='monitor',
            constraint=compliance.tenancy.schema.Reference(columns='organization_id', name='monitors_organization_fk', on_delete='CASCADE', to='organizations (id)'),
        ),
        migrations.AddConstraint(
            model_name='monitor',
            constraint=compliance.tenancy.schema.Reference(columns='context_id, organization_id', name='monitors_context_fk', on_delete='SET NULL (context_id)', to='agent_contexts (id, organization_id)'),
        ),
        migrations.AddConstraint(
            model_name='monitor',
            constraint=compliance.tenancy.schema.Reference(columns='runner_id, organization_id', name='monitors_runner_fk', to='runners (id, organization_id)'),
        ),
        migrations.AddConstraint(
            model_name='monitor',
            constraint=compliance.tenancy.schema.Reference(columns='monitor_id, organization_id', name='jobs_monitor_fk', on_delete='SET NULL (monitor_id)', table='compliance_jobs', to='monitors (id, organization_id)'),
        ),
        migrations.AddConstraint(
            model_name='job',
            constraint=compliance.tenancy.schema.Reference(columns='runner_id, organization_id', name='jobs_runner_fk', to='runners (id, organization_id)'),
        ),
    ]
