"""Private runners: requests and monitors that are pinned to them, what their organizations are told, what expires."""

import compliance.jobs.models
import compliance.tenancy.ids
import django.db.models.deletion
import django.db.models.functions.text
import django.utils.timezone
from django.db import migrations, models


ORG = "nullif((select current_setting('app.organization_id', true)), '')"

# Rights are given anew, because default privileges gave both serving roles everything.
RIGHTS = """
REVOKE ALL ON runners, notices, rejected_reports FROM assay_app, assay_staff;
GRANT SELECT, INSERT ON runners, notices, rejected_reports TO assay_app;
GRANT UPDATE (name, pool, state, last_seen_at, online_since, online_until, told_offline_at, version, host, engines,
    clock_ahead_ms, last_error, last_error_at) ON runners TO assay_app;
GRANT UPDATE (read_at) ON notices TO assay_app;
GRANT UPDATE (executor_kind, runner_id, pool, deferred_until, notify_priority, notify_channel,
    notify_cooldown_seconds) ON monitors TO assay_app;
GRANT SELECT ON runners, notices, rejected_reports TO assay_staff;
"""

# With the organization in the key, nothing of one organization can hang on another's runner.
KEYS = """
ALTER TABLE runners ADD CONSTRAINT runners_of_organization UNIQUE (id, organization_id);
ALTER TABLE runners ADD CONSTRAINT runners_organization_fk
    FOREIGN KEY (organization_id) REFERENCES organizations (id) ON DELETE CASCADE;
ALTER TABLE notices ADD CONSTRAINT notices_organization_fk
    FOREIGN KEY (organization_id) REFERENCES organizations (id) ON DELETE CASCADE;
ALTER TABLE compliance_jobs ADD CONSTRAINT jobs_of_organization UNIQUE (id, organization_id);
ALTER TABLE rejected_reports ADD CONSTRAINT rejected_reports_request_fk
    FOREIGN KEY (job_id, organization_id) REFERENCES compliance_jobs (id, organization_id) ON DELETE CASCADE;
ALTER TABLE monitors ADD CONSTRAINT monitors_runner_fk
    FOREIGN KEY (runner_id, organization_id) REFERENCES runners (id, organization_id);
ALTER TABLE compliance_jobs ADD CONSTRAINT jobs_runner_fk
    FOREIGN KEY (runner_id, organization_id) REFERENCES runners (id, organization_id);
COMMENT ON COLUMN agent_compliance_runs.executor_id IS
    'The private runner. No foreign key on purpose: history outlives it.';
"""

POLICIES = "\n".join(
    f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY; ALTER TABLE {table} FORCE ROW LEVEL SECURITY;\n"
    f"CREATE POLICY organization_own ON {table} TO assay_app"
    f" USING (organization_id = {ORG}) WITH CHECK (organization_id = {ORG});\n"
    f"CREATE POLICY staff_looks ON {table} FOR SELECT TO assay_staff USING (true);"
    for table in ("runners", "notices", "rejected_reports")
) + """
-- What the functions below need, and no more.
CREATE POLICY finding_gone ON runners FOR SELECT TO assay_owner USING (state = 'active');
CREATE POLICY expiring ON compliance_jobs FOR UPDATE TO assay_owner
    USING (state IN ('queued', 'leased')) WITH CHECK (state = 'expired');
"""

GUARDS = """
-- L14: a runner with live pins is not deleted, and nothing is pinned to one that is, whatever happens at once. The
-- lock on the runner's row lets one of the two come first.
CREATE FUNCTION guard_pin() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM 1 FROM runners r
    WHERE r.organization_id = NEW.organization_id AND r.state <> 'deleted'
        AND (r.id = NEW.runner_id OR (NEW.pool <> '' AND r.pool = NEW.pool))
    ORDER BY r.id FOR KEY SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no such private runner' USING ERRCODE = 'foreign_key_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER guard_pin BEFORE INSERT OR UPDATE OF runner_id, pool ON monitors
    FOR EACH ROW WHEN (NEW.executor_kind = 'private') EXECUTE FUNCTION guard_pin();
CREATE TRIGGER guard_pin BEFORE INSERT ON compliance_jobs
    FOR EACH ROW WHEN (NEW.executor_kind = 'private') EXECUTE FUNCTION guard_pin();

CREATE FUNCTION guard_runner() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF OLD.state = 'deleted' THEN
        RAISE EXCEPTION 'a deleted runner stays as it is' USING ERRCODE = 'insufficient_privilege';
    END IF;
    -- Whoever works for it, or pins something to it, holds a share of its key: all of them are waited for.
    PERFORM 1 FROM runners r WHERE r.id = OLD.id FOR UPDATE;
    IF NEW.state = 'deleted' AND EXISTS (
        SELECT 1 FROM monitors m WHERE m.runner_id = OLD.id AND m.state <> 'archived') THEN
        RAISE EXCEPTION 'monitors are pinned to this runner' USING ERRCODE = 'foreign_key_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER guard_runner BEFORE UPDATE OF state ON runners FOR EACH ROW EXECUTE FUNCTION guard_runner();

CREATE TRIGGER insert_only BEFORE UPDATE OR TRUNCATE ON rejected_reports
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
-- It goes with its request, as that does with its organization, and not before.
CREATE FUNCTION guard_rejected_report() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM compliance_jobs r WHERE r.id = OLD.job_id) THEN
        RAISE EXCEPTION 'rejected_reports is insert-only: DELETE refused' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN OLD;
END $$;
CREATE TRIGGER guard_rejected_report BEFORE DELETE ON rejected_reports
    FOR EACH ROW EXECUTE FUNCTION guard_rejected_report();
"""

FUNCTIONS = """
-- Hosted work alone is nudged; a private runner asks by itself.
CREATE OR REPLACE FUNCTION stale_jobs(nudge_after interval, at_most integer)
RETURNS TABLE (id uuid, organization_id varchar)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
#variable_conflict use_column
BEGIN
    -- IS NOT TRUE, because a comparison with NULL is neither true nor false.
    IF (nudge_after >= interval '1 second') IS NOT TRUE THEN
        RAISE EXCEPTION 'nudge_after must be 1 second or more, not %', nudge_after;
    END IF;
    IF (at_most BETWEEN 1 AND 1000) IS NOT TRUE THEN
        RAISE EXCEPTION 'at_most must be 1 to 1000, not %', at_most;
    END IF;
    RETURN QUERY
        SELECT r.id, r.organization_id FROM compliance_jobs r
        WHERE r.state IN ('queued', 'leased') AND r.executor_kind = 'hosted' AND r.expires_at > now()
            AND ((r.state = 'queued' AND r.dispatched_at < now() - nudge_after)
                 OR (r.state = 'leased' AND r.lease_expires_at < now()))
        ORDER BY r.created_at LIMIT at_most;
END $$;

CREATE FUNCTION lapsed_private_jobs(at_most integer) RETURNS TABLE (organization_id varchar)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
#variable_conflict use_column
BEGIN
    IF (at_most BETWEEN 1 AND 1000) IS NOT TRUE THEN
        RAISE EXCEPTION 'at_most must be 1 to 1000, not %', at_most;
    END IF;
    RETURN QUERY
        SELECT r.organization_id FROM compliance_jobs r
        WHERE r.state IN ('queued', 'leased') AND r.executor_kind = 'private'
            AND r.state = 'leased' AND r.lease_expires_at < now()
        ORDER BY r.created_at LIMIT at_most;
END $$;

-- L15: what nobody serves in time ends without a run. What somebody works on, its lease alive, does not.
CREATE FUNCTION expire_jobs(at_most integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    ended integer;
BEGIN
    IF (at_most BETWEEN 1 AND 1000) IS NOT TRUE THEN
        RAISE EXCEPTION 'at_most must be 1 to 1000, not %', at_most;
    END IF;
    UPDATE compliance_jobs q
    SET state = 'expired', finished_at = now(), lease_token = NULL, lease_expires_at = NULL,
        end_reason = CASE
            WHEN q.attempt > 0 THEN 'Whoever took it was lost, and nobody took it again in time.'
            WHEN q.executor_kind = 'private' THEN 'No private runner took it in time.'
            ELSE 'No worker took it in time.' END
    WHERE q.id IN (
        SELECT r.id FROM compliance_jobs r
        WHERE r.state IN ('queued', 'leased') AND r.expires_at <= now()
            AND (r.state = 'queued' OR r.lease_expires_at < now())
        ORDER BY r.expires_at LIMIT at_most FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS ended = ROW_COUNT;
    RETURN ended;
END $$;

-- By which keys waiting runners are woken: of the work that waits for them.
CREATE FUNCTION waiting_work() RETURNS TABLE (key text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT DISTINCT CASE WHEN r.runner_id IS NOT NULL THEN 'runner:' || r.runner_id
        ELSE 'pool:' || r.organization_id || ':' || r.pool END
    FROM compliance_jobs r
    WHERE r.state IN ('queued', 'leased') AND r.executor_kind = 'private' AND r.state = 'queued' AND r.expires_at > now()
    LIMIT 10000
$$;

CREATE FUNCTION runners_gone(tell_after interval, at_most integer) RETURNS TABLE (organization_id varchar)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
#variable_conflict use_column
BEGIN
    IF (tell_after >= interval '1 second') IS NOT TRUE THEN
        RAISE EXCEPTION 'tell_after must be 1 second or more, not %', tell_after;
    END IF;
    IF (at_most BETWEEN 1 AND 1000) IS NOT TRUE THEN
        RAISE EXCEPTION 'at_most must be 1 to 1000, not %', at_most;
    END IF;
    RETURN QUERY
        SELECT r.organization_id FROM runners r
        WHERE r.state = 'active' AND r.online_until < now() AND r.told_offline_at IS NULL
            AND r.last_seen_at < now() - tell_after
        ORDER BY r.online_until LIMIT at_most;
END $$;

-- A deferred monitor is due again when its time has come, or when a runner for it is back.
CREATE OR REPLACE FUNCTION organizations_due(at_most integer) RETURNS TABLE (organization_id varchar)
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
                AND (m.deferred_until IS NULL OR m.deferred_until <= statement_timestamp() OR EXISTS (
                    SELECT 1 FROM runners w WHERE w.organization_id = m.organization_id AND w.state = 'active'
                        AND w.online_until > statement_timestamp()
                        AND (w.id = m.runner_id OR (m.pool <> '' AND w.pool = m.pool))))
                AND NOT EXISTS (SELECT 1 FROM compliance_jobs r
                    WHERE r.monitor_id = m.id AND r.state IN ('queued', 'leased'))
            ORDER BY m.next_run_at, m.id LIMIT at_most
        ) d
        GROUP BY d.organization_id ORDER BY min(d.next_run_at), d.organization_id;
END $$;

REVOKE ALL ON FUNCTION lapsed_private_jobs(integer), expire_jobs(integer), waiting_work(),
    runners_gone(interval, integer), guard_pin(), guard_runner(), guard_rejected_report() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION lapsed_private_jobs(integer), expire_jobs(integer), waiting_work(),
    runners_gone(interval, integer) TO assay_app;
"""


def sql(text: str) -> migrations.RunSQL:
    return migrations.RunSQL(text)


class Migration(migrations.Migration):

    dependencies = [
        ('compliance', '0010_status_suite'),
    ]

    operations = [
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
                ('occasion', models.CharField(help_text='The same occasion is told once.', max_length=200)),
                ('read_at', models.DateTimeField(blank=True, null=True)),
            ],
            options={
                'db_table': 'notices',
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
                ('told_offline_at', models.DateTimeField(blank=True, help_text='When its organization was told so.', null=True)),
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
        migrations.RemoveConstraint(
            model_name='monitordecision',
            name='decision_outcome_known',
        ),
        migrations.AddField(
            model_name='job',
            name='end_reason',
            field=models.CharField(blank=True, db_default='', default='', help_text='Why it ended without a run, for its organization.', max_length=300),
        ),
        migrations.AddField(
            model_name='job',
            name='executor_kind',
            field=models.CharField(choices=[('hosted', 'Hosted'), ('private', 'Private runner')], db_default='hosted', default='hosted', max_length=10),
        ),
        migrations.AddField(
            model_name='job',
            name='expires_at',
            field=models.DateTimeField(default=compliance.jobs.models.expires, help_text='When it ends if nobody serves it.'),
        ),
        migrations.AddField(
            model_name='job',
            name='finished_token',
            field=models.UUIDField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='job',
            name='lease_run_id',
            field=models.UUIDField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='job',
            name='leased_by',
            field=models.UUIDField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='job',
            name='leased_by_name',
            field=models.CharField(blank=True, db_default='', default='', max_length=100),
        ),
        migrations.AddField(
            model_name='job',
            name='pool',
            field=models.CharField(blank=True, db_default='', default='', max_length=60),
        ),
        migrations.AddField(
            model_name='job',
            name='runner_id',
            field=models.UUIDField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='compliancerun',
            name='executor_id',
            field=models.UUIDField(blank=True, help_text='Which private runner. No key: history outlives it.', null=True),
        ),
        migrations.AddField(
            model_name='monitor',
            name='deferred_until',
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='monitor',
            name='executor_kind',
            field=models.CharField(choices=[('hosted', 'Hosted'), ('private', 'Private runner')], db_default='hosted', default='hosted', max_length=10),
        ),
        migrations.AddField(
            model_name='monitor',
            name='notify_channel',
            field=models.CharField(choices=[('in_app', 'In Assay'), ('message', 'By message'), ('both', 'Both')], db_default='in_app', default='in_app', max_length=10),
        ),
        migrations.AddField(
            model_name='monitor',
            name='notify_cooldown_seconds',
            field=models.PositiveIntegerField(db_default=3600, default=3600, help_text='The shortest time between two notifications.'),
        ),
        migrations.AddField(
            model_name='monitor',
            name='notify_priority',
            field=models.CharField(choices=[('low', 'Low'), ('normal', 'Normal'), ('high', 'High')], db_default='normal', default='normal', max_length=10),
        ),
        migrations.AddField(
            model_name='monitor',
            name='pool',
            field=models.CharField(blank=True, db_default='', default='', max_length=60),
        ),
        migrations.AddField(
            model_name='monitor',
            name='runner_id',
            field=models.UUIDField(blank=True, null=True),
        ),
        migrations.AlterField(
            model_name='monitordecision',
            name='outcome',
            field=models.CharField(choices=[('allowed', 'Allowed'), ('no_agent', 'No such agent'), ('archived', 'Archived'), ('paused', 'Paused'), ('opted_out', 'Opted out'), ('concurrency', 'Too many at once'), ('cooldown', 'Too soon'), ('deferred', 'Waits for its runner'), ('unavailable', 'Suite not available'), ('budget', 'Budget used up'), ('cancelled', 'Cancelled'), ('parked', 'Parked'), ('stopped', 'Paused after failures'), ('failed', 'Could not be decided')], max_length=14),
        ),
        migrations.AddIndex(
            model_name='job',
            index=models.Index(condition=models.Q(('executor_kind', 'private'), ('state__in', ['queued', 'leased'])), fields=['organization', 'created_at', 'id'], name='jobs_private'),
        ),
        migrations.AddIndex(
            model_name='job',
            index=models.Index(condition=models.Q(('state__in', ['queued', 'leased'])), fields=['expires_at'], name='jobs_expiring'),
        ),
        migrations.AddIndex(
            model_name='monitor',
            index=models.Index(condition=models.Q(('runner_id__isnull', False)), fields=['runner_id'], name='monitors_of_runner'),
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
            model_name='monitordecision',
            constraint=models.CheckConstraint(condition=models.Q(('outcome__in', ['allowed', 'no_agent', 'archived', 'paused', 'opted_out', 'concurrency', 'cooldown', 'deferred', 'unavailable', 'budget', 'cancelled', 'parked', 'stopped', 'failed'])), name='decision_outcome_known'),
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
        migrations.RemoveConstraint(model_name="credentialuse", name="use_sent_to_known"),
        migrations.AddField(
            model_name="credentialgrant",
            name="for_private_runners",
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.AlterField(
            model_name="credentialuse",
            name="sent_to",
            field=models.CharField(
                choices=[
                    ("agent", "The agent"),
                    ("token_endpoint", "The token endpoint"),
                    ("runner", "A private runner"),
                ],
                max_length=14,
            ),
        ),
        migrations.AddConstraint(
            model_name="credentialuse",
            constraint=models.CheckConstraint(
                condition=models.Q(sent_to__in=["agent", "token_endpoint", "runner"]), name="use_sent_to_known"
            ),
        ),
        sql(RIGHTS),
        sql(KEYS),
        sql(POLICIES),
        sql(GUARDS),
        sql(FUNCTIONS),
    ]
