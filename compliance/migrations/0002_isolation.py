"""Who sees which rows, and what the roles that serve may do with each table."""

import compliance.tenancy.rls
import compliance.tenancy.schema
from django.db import migrations


class Migration(migrations.Migration):

    dependencies = [
        ('compliance', '0001_initial'),
    ]

    operations = [
        migrations.AddConstraint(
            model_name='agent',
            constraint=compliance.tenancy.rls.RowLevelSecurity(name='agent_isolation', policies=[
                compliance.tenancy.rls.Policy('registered_agents', for_='SELECT', to='assay_app', using="coalesce((select current_setting('app.platform', true)), '') = 'on' OR EXISTS (SELECT 1 FROM agent_contexts c WHERE c.organization_id = nullif((select current_setting('app.organization_id', true)), '') AND c.agent_url = agents.agent_url)"),
                compliance.tenancy.rls.Policy('registering', check="coalesce((select current_setting('app.platform', true)), '') = 'on' OR nullif((select current_setting('app.organization_id', true)), '') IS NOT NULL", for_='INSERT', to='assay_app'),
                compliance.tenancy.rls.Policy('verified_owner_decides', check="coalesce((select current_setting('app.platform', true)), '') = 'on' OR EXISTS (SELECT 1 FROM agent_contexts c WHERE c.organization_id = nullif((select current_setting('app.organization_id', true)), '') AND c.agent_url = agents.agent_url AND c.relation = 'verified_owner')", for_='UPDATE', to='assay_app', using="coalesce((select current_setting('app.platform', true)), '') = 'on' OR EXISTS (SELECT 1 FROM agent_contexts c WHERE c.organization_id = nullif((select current_setting('app.organization_id', true)), '') AND c.agent_url = agents.agent_url AND c.relation = 'verified_owner')"),
                compliance.tenancy.rls.Policy('staff_everything', check='true', to='assay_staff', using='true'),
                compliance.tenancy.rls.Policy('registrations', check='true', to='assay_owner', using='true'),
            ]),
        ),
        migrations.AddConstraint(
            model_name='agent',
            constraint=compliance.tenancy.schema.Privileges(app='SELECT, INSERT, UPDATE', name='agent_privileges', staff='SELECT, INSERT, UPDATE'),
        ),
        migrations.AddConstraint(
            model_name='agentruntotal',
            constraint=compliance.tenancy.rls.RowLevelSecurity(name='agentruntotal_isolation', policies=[
                compliance.tenancy.rls.Policy('organization_own', for_='SELECT', to='assay_app', using="organization_id = nullif((select current_setting('app.organization_id', true)), '')"),
                compliance.tenancy.rls.Policy('staff_everything', check='true', to='assay_staff', using='true'),
                compliance.tenancy.rls.Policy('projection', check='true', to='assay_owner', using='true'),
            ]),
        ),
        migrations.AddConstraint(
            model_name='agentruntotal',
            constraint=compliance.tenancy.schema.Privileges(app='SELECT', name='agentruntotal_privileges', staff='SELECT'),
        ),
        migrations.AddConstraint(
            model_name='credentialuse',
            constraint=compliance.tenancy.rls.RowLevelSecurity(name='credentialuse_isolation', policies=[
                compliance.tenancy.rls.Policy('organization_own', check="organization_id = nullif((select current_setting('app.organization_id', true)), '')", to='assay_app', using="organization_id = nullif((select current_setting('app.organization_id', true)), '')"),
                compliance.tenancy.rls.Policy('staff_reads', for_='SELECT', to='assay_staff', using='true'),
            ]),
        ),
        migrations.AddConstraint(
            model_name='credentialuse',
            constraint=compliance.tenancy.schema.Privileges(app='SELECT, INSERT', name='credentialuse_privileges', staff='SELECT'),
        ),
        migrations.AddConstraint(
            model_name='deletedorganization',
            constraint=compliance.tenancy.schema.Privileges(name='deletedorganization_privileges'),
        ),
        migrations.AddConstraint(
            model_name='monitordecision',
            constraint=compliance.tenancy.rls.RowLevelSecurity(name='monitordecision_isolation', policies=[
                compliance.tenancy.rls.Policy('organization_own', check="organization_id = nullif((select current_setting('app.organization_id', true)), '')", to='assay_app', using="organization_id = nullif((select current_setting('app.organization_id', true)), '')"),
                compliance.tenancy.rls.Policy('staff_reads', for_='SELECT', to='assay_staff', using='true'),
                compliance.tenancy.rls.Policy('forgetting', check='false', to='assay_owner', using="at < (now() - interval '7 days')"),
            ]),
        ),
        migrations.AddConstraint(
            model_name='monitordecision',
            constraint=compliance.tenancy.schema.Privileges(app='SELECT, INSERT', name='monitordecision_privileges', staff='SELECT'),
        ),
        migrations.AddConstraint(
            model_name='notice',
            constraint=compliance.tenancy.rls.RowLevelSecurity(name='notice_isolation', policies=[
                compliance.tenancy.rls.Policy('organization_own', check="organization_id = nullif((select current_setting('app.organization_id', true)), '')", to='assay_app', using="organization_id = nullif((select current_setting('app.organization_id', true)), '')"),
                compliance.tenancy.rls.Policy('staff_reads', for_='SELECT', to='assay_staff', using='true'),
            ]),
        ),
        migrations.AddConstraint(
            model_name='notice',
            constraint=compliance.tenancy.schema.Privileges(app='SELECT, INSERT, UPDATE (read_at)', name='notice_privileges', staff='SELECT'),
        ),
        migrations.AddConstraint(
            model_name='organization',
            constraint=compliance.tenancy.rls.RowLevelSecurity(name='organization_isolation', policies=[
                compliance.tenancy.rls.Policy('organization_itself', check="id = nullif((select current_setting('app.organization_id', true)), '')", to='assay_app', using="id = nullif((select current_setting('app.organization_id', true)), '')"),
                compliance.tenancy.rls.Policy('member_sees_own', for_='SELECT', to='assay_app', using="id IN (SELECT m.organization_id FROM memberships m WHERE m.user_id = nullif((select current_setting('app.user_id', true)), '')::bigint)"),
                compliance.tenancy.rls.Policy('staff_everything', check='true', to='assay_staff', using='true'),
            ]),
        ),
        migrations.AddConstraint(
            model_name='stepevidence',
            constraint=compliance.tenancy.rls.RowLevelSecurity(name='stepevidence_isolation', policies=[
                compliance.tenancy.rls.Policy('readers', for_='SELECT', to='assay_app', using="organization_id = nullif((select current_setting('app.organization_id', true)), '') OR (organization_id IS NULL AND credential_organization_id = nullif((select current_setting('app.organization_id', true)), '')) OR (organization_id IS NULL AND credential_organization_id IS NULL AND EXISTS (SELECT 1 FROM agent_contexts c WHERE c.organization_id = nullif((select current_setting('app.organization_id', true)), '') AND c.agent_url = step_evidence.agent_url AND c.relation = 'verified_owner'))"),
                compliance.tenancy.rls.Policy('recording', check="organization_id = nullif((select current_setting('app.organization_id', true)), '') OR (organization_id IS NULL AND coalesce((select current_setting('app.platform', true)), '') = 'on')", for_='INSERT', to='assay_app'),
                compliance.tenancy.rls.Policy('staff_everything', check='true', to='assay_staff', using='true'),
            ]),
        ),
        migrations.AddConstraint(
            model_name='stepevidence',
            constraint=compliance.tenancy.schema.Privileges(app='SELECT, INSERT', name='stepevidence_privileges', staff='SELECT, INSERT'),
        ),
        migrations.AddConstraint(
            model_name='systemscopeuse',
            constraint=compliance.tenancy.schema.Privileges(name='systemscopeuse_privileges', staff='SELECT, INSERT'),
        ),
        migrations.AddConstraint(
            model_name='tickcounter',
            constraint=compliance.tenancy.schema.Privileges(app='SELECT, INSERT, UPDATE', name='tickcounter_privileges', staff='SELECT'),
        ),
        migrations.AddConstraint(
            model_name='tickphase',
            constraint=compliance.tenancy.schema.Privileges(app='SELECT, INSERT, UPDATE', name='tickphase_privileges', staff='SELECT'),
        ),
        migrations.AddConstraint(
            model_name='agentstatus',
            constraint=compliance.tenancy.rls.RowLevelSecurity(name='agentstatus_isolation', policies=[
                compliance.tenancy.rls.Policy('registered_agents', for_='SELECT', to='assay_app', using="coalesce((select current_setting('app.platform', true)), '') = 'on' OR EXISTS (SELECT 1 FROM agent_contexts c WHERE c.organization_id = nullif((select current_setting('app.organization_id', true)), '') AND c.agent_url = agent_status.agent_url)"),
                compliance.tenancy.rls.Policy('staff_everything', check='true', to='assay_staff', using='true'),
                compliance.tenancy.rls.Policy('projection', check='true', to='assay_owner', using='true'),
            ]),
        ),
        migrations.AddConstraint(
            model_name='agentstatus',
            constraint=compliance.tenancy.schema.Privileges(app='SELECT', name='agentstatus_privileges', staff='SELECT'),
        ),
        migrations.AddConstraint(
            model_name='credentialsecret',
            constraint=compliance.tenancy.rls.RowLevelSecurity(name='credentialsecret_isolation', policies=[
                compliance.tenancy.rls.Policy('organization_own', check="organization_id = nullif((select current_setting('app.organization_id', true)), '')", to='assay_app', using="organization_id = nullif((select current_setting('app.organization_id', true)), '')"),
            ]),
        ),
        migrations.AddConstraint(
            model_name='credentialsecret',
            constraint=compliance.tenancy.schema.Privileges(app='SELECT, INSERT, DELETE, UPDATE (version, sealed, sealed_token, token_expires_at)', name='credentialsecret_privileges'),
        ),
        migrations.AddConstraint(
            model_name='credentialgrant',
            constraint=compliance.tenancy.rls.RowLevelSecurity(name='credentialgrant_isolation', policies=[
                compliance.tenancy.rls.Policy('organization_own', check="organization_id = nullif((select current_setting('app.organization_id', true)), '')", to='assay_app', using="organization_id = nullif((select current_setting('app.organization_id', true)), '')"),
                compliance.tenancy.rls.Policy('staff_reads', for_='SELECT', to='assay_staff', using='true'),
                compliance.tenancy.rls.Policy('finding_heartbeats', for_='SELECT', to='assay_owner', using='for_heartbeats'),
            ]),
        ),
        migrations.AddConstraint(
            model_name='credentialgrant',
            constraint=compliance.tenancy.schema.Privileges(app='SELECT, INSERT, UPDATE (revoked_at, revoked_by)', name='credentialgrant_privileges', staff='SELECT'),
        ),
        migrations.AddConstraint(
            model_name='membership',
            constraint=compliance.tenancy.rls.RowLevelSecurity(name='membership_isolation', policies=[
                compliance.tenancy.rls.Policy('organization_own', check="organization_id = nullif((select current_setting('app.organization_id', true)), '')", to='assay_app', using="organization_id = nullif((select current_setting('app.organization_id', true)), '')"),
                compliance.tenancy.rls.Policy('member_sees_own', for_='SELECT', to='assay_app', using="user_id = nullif((select current_setting('app.user_id', true)), '')::bigint"),
                compliance.tenancy.rls.Policy('staff_everything', check='true', to='assay_staff', using='true'),
            ]),
        ),
        migrations.AddConstraint(
            model_name='invitation',
            constraint=compliance.tenancy.rls.RowLevelSecurity(name='invitation_isolation', policies=[
                compliance.tenancy.rls.Policy('organization_own', check="organization_id = nullif((select current_setting('app.organization_id', true)), '')", to='assay_app', using="organization_id = nullif((select current_setting('app.organization_id', true)), '')"),
                compliance.tenancy.rls.Policy('staff_everything', check='true', to='assay_staff', using='true'),
            ]),
        ),
        migrations.AddConstraint(
            model_name='credential',
            constraint=compliance.tenancy.rls.RowLevelSecurity(name='credential_isolation', policies=[
                compliance.tenancy.rls.Policy('organization_own', check="organization_id = nullif((select current_setting('app.organization_id', true)), '')", to='assay_app', using="organization_id = nullif((select current_setting('app.organization_id', true)), '')"),
                compliance.tenancy.rls.Policy('staff_reads', for_='SELECT', to='assay_staff', using='true'),
            ]),
        ),
        migrations.AddConstraint(
            model_name='credential',
            constraint=compliance.tenancy.schema.Privileges(app='SELECT, INSERT, UPDATE (name, parameters, hint, version, replaced_at, deleted_at, deleted_by)', name='credential_privileges', staff='SELECT'),
        ),
        migrations.AddConstraint(
            model_name='apikey',
            constraint=compliance.tenancy.rls.RowLevelSecurity(name='apikey_isolation', policies=[
                compliance.tenancy.rls.Policy('organization_own', check="organization_id = nullif((select current_setting('app.organization_id', true)), '')", to='assay_app', using="organization_id = nullif((select current_setting('app.organization_id', true)), '')"),
                compliance.tenancy.rls.Policy('staff_reads', for_='SELECT', to='assay_staff', using='true'),
                compliance.tenancy.rls.Policy('finding_key', for_='SELECT', to='assay_owner', using='true'),
            ]),
        ),
        migrations.AddConstraint(
            model_name='apikey',
            constraint=compliance.tenancy.schema.Privileges(app='SELECT, INSERT, UPDATE (revoked_at, revoked_by, last_used_at)', name='apikey_privileges', staff='SELECT (id, organization_id, name, prefix, scopes, runner_id, created_at, created_by, expires_at, revoked_at, revoked_by, last_used_at)'),
        ),
        migrations.AddConstraint(
            model_name='agentcontext',
            constraint=compliance.tenancy.rls.RowLevelSecurity(name='agentcontext_isolation', policies=[
                compliance.tenancy.rls.Policy('organization_own', check="organization_id = nullif((select current_setting('app.organization_id', true)), '')", to='assay_app', using="organization_id = nullif((select current_setting('app.organization_id', true)), '')"),
                compliance.tenancy.rls.Policy('staff_everything', check='true', to='assay_staff', using='true'),
                compliance.tenancy.rls.Policy('finding_heartbeats', for_='SELECT', to='assay_owner', using="relation = 'verified_owner'"),
            ]),
        ),
        migrations.AddConstraint(
            model_name='rejectedreport',
            constraint=compliance.tenancy.rls.RowLevelSecurity(name='rejectedreport_isolation', policies=[
                compliance.tenancy.rls.Policy('organization_own', check="organization_id = nullif((select current_setting('app.organization_id', true)), '')", to='assay_app', using="organization_id = nullif((select current_setting('app.organization_id', true)), '')"),
                compliance.tenancy.rls.Policy('staff_reads', for_='SELECT', to='assay_staff', using='true'),
            ]),
        ),
        migrations.AddConstraint(
            model_name='rejectedreport',
            constraint=compliance.tenancy.schema.Privileges(app='SELECT, INSERT', name='rejectedreport_privileges', staff='SELECT'),
        ),
        migrations.AddConstraint(
            model_name='runner',
            constraint=compliance.tenancy.rls.RowLevelSecurity(name='runner_isolation', policies=[
                compliance.tenancy.rls.Policy('organization_own', check="organization_id = nullif((select current_setting('app.organization_id', true)), '')", to='assay_app', using="organization_id = nullif((select current_setting('app.organization_id', true)), '')"),
                compliance.tenancy.rls.Policy('staff_reads', for_='SELECT', to='assay_staff', using='true'),
                compliance.tenancy.rls.Policy('finding_gone', for_='SELECT', to='assay_owner', using="state = 'active'"),
            ]),
        ),
        migrations.AddConstraint(
            model_name='runner',
            constraint=compliance.tenancy.schema.Privileges(app='SELECT, INSERT, UPDATE (name, pool, state, last_seen_at, online_since, online_until, offline_notified_at, version, host, engines, clock_ahead_ms, last_error, last_error_at)', name='runner_privileges', staff='SELECT'),
        ),
        migrations.AddConstraint(
            model_name='suiteversion',
            constraint=compliance.tenancy.schema.Privileges(app='SELECT', name='suiteversion_privileges', staff='SELECT, INSERT'),
        ),
        migrations.AddConstraint(
            model_name='suite',
            constraint=compliance.tenancy.schema.Privileges(app='SELECT', name='suite_privileges', staff='SELECT, INSERT, UPDATE, DELETE'),
        ),
        migrations.AddConstraint(
            model_name='monitor',
            constraint=compliance.tenancy.rls.RowLevelSecurity(name='monitor_isolation', policies=[
                compliance.tenancy.rls.Policy('organization_own', check="organization_id = nullif((select current_setting('app.organization_id', true)), '')", to='assay_app', using="organization_id = nullif((select current_setting('app.organization_id', true)), '')"),
                compliance.tenancy.rls.Policy('staff_reads', for_='SELECT', to='assay_staff', using='true'),
                compliance.tenancy.rls.Policy('finding_due', for_='SELECT', to='assay_owner', using="state = 'active'"),
            ]),
        ),
        migrations.AddConstraint(
            model_name='monitor',
            constraint=compliance.tenancy.schema.Privileges(app='SELECT, INSERT, UPDATE (name, options, dry_run, credential_choice, credential_id, executor_kind, runner_id, pool, suite_version_id, interval_minutes, cron, timezone, anchor, state, state_reason, next_run_at, deferred_until, last_run_id, last_status, last_run_at, last_scheduled_run_at, failures_in_a_row, notify_priority, notify_channel, notify_cooldown_seconds)', name='monitor_privileges', staff='SELECT'),
        ),
        migrations.AddConstraint(
            model_name='job',
            constraint=compliance.tenancy.rls.RowLevelSecurity(name='job_isolation', policies=[
                compliance.tenancy.rls.Policy('organization_own', check="organization_id = nullif((select current_setting('app.organization_id', true)), '')", to='assay_app', using="organization_id = nullif((select current_setting('app.organization_id', true)), '')"),
                compliance.tenancy.rls.Policy('platform_own', check="organization_id IS NULL AND coalesce((select current_setting('app.platform', true)), '') = 'on'", to='assay_app', using="organization_id IS NULL AND coalesce((select current_setting('app.platform', true)), '') = 'on'"),
                compliance.tenancy.rls.Policy('staff_everything', check='true', to='assay_staff', using='true'),
                compliance.tenancy.rls.Policy('cleanup', for_='SELECT', to='assay_owner', using='true'),
                compliance.tenancy.rls.Policy('cancelling', check="state = 'cancelled'", for_='UPDATE', to='assay_owner', using='organization_id IS NOT NULL'),
                compliance.tenancy.rls.Policy('expiring', check="state = 'expired'", for_='UPDATE', to='assay_owner', using="state IN ('queued', 'leased')"),
            ]),
        ),
        migrations.AddConstraint(
            model_name='compliancerun',
            constraint=compliance.tenancy.rls.RowLevelSecurity(name='compliancerun_isolation', policies=[
                compliance.tenancy.rls.Policy('readers', for_='SELECT', to='assay_app', using="CASE WHEN triggered_org_id IS NOT NULL THEN triggered_org_id = nullif((select current_setting('app.organization_id', true)), '') ELSE coalesce((select current_setting('app.platform', true)), '') = 'on' OR EXISTS (SELECT 1 FROM agent_contexts c WHERE c.organization_id = nullif((select current_setting('app.organization_id', true)), '') AND c.agent_url = agent_compliance_runs.agent_url) END"),
                compliance.tenancy.rls.Policy('recording', check="(triggered_org_id = nullif((select current_setting('app.organization_id', true)), '') OR (triggered_org_id IS NULL AND coalesce((select current_setting('app.platform', true)), '') = 'on')) AND (NOT by_verified_owner OR EXISTS (SELECT 1 FROM agent_contexts c WHERE c.organization_id = nullif((select current_setting('app.organization_id', true)), '') AND c.agent_url = agent_compliance_runs.agent_url AND c.relation = 'verified_owner'))", for_='INSERT', to='assay_app'),
                compliance.tenancy.rls.Policy('staff_everything', check='true', to='assay_staff', using='true'),
                compliance.tenancy.rls.Policy('projection_reads', for_='SELECT', to='assay_owner', using='true'),
            ]),
        ),
        migrations.AddConstraint(
            model_name='compliancerun',
            constraint=compliance.tenancy.schema.Privileges(app='SELECT, INSERT', name='compliancerun_privileges', staff='SELECT, INSERT'),
        ),
        migrations.AddConstraint(
            model_name='webhookdelivery',
            constraint=compliance.tenancy.rls.RowLevelSecurity(name='webhookdelivery_isolation', policies=[
                compliance.tenancy.rls.Policy('platform_own', check="coalesce((select current_setting('app.platform', true)), '') = 'on'", to='assay_app', using="coalesce((select current_setting('app.platform', true)), '') = 'on'"),
                compliance.tenancy.rls.Policy('staff_reads', for_='SELECT', to='assay_staff', using='true'),
                compliance.tenancy.rls.Policy('forgetting', check='false', to='assay_owner', using="received_at < (now() - interval '7 days')"),
            ]),
        ),
        migrations.AddConstraint(
            model_name='webhookdelivery',
            constraint=compliance.tenancy.schema.Privileges(app='SELECT, INSERT', name='webhookdelivery_privileges', staff='SELECT'),
        ),
    ]
