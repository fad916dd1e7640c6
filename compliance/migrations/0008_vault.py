"""The vault: credentials, their secrets in a table of their own, grants, and the record of uses."""

import compliance.tenancy.ids
import compliance.vault.models
import django.db.models.deletion
import django.db.models.functions.text
import django.utils.timezone
from django.db import migrations, models


ORG = "nullif((select current_setting('app.organization_id', true)), '')"

# Rights are given anew, because default privileges gave both serving roles everything. Secrets: nothing for staff.
# Grants are revoked and never changed; uses are added and never changed; nothing is deleted but by its organization's end.
RIGHTS = """
REVOKE ALL ON credentials, credential_secrets, credential_grants, credential_uses FROM assay_app, assay_staff;
GRANT SELECT, INSERT ON credentials, credential_grants, credential_uses TO assay_app;
GRANT UPDATE (name, parameters, hint, version, replaced_at, deleted_at, deleted_by) ON credentials TO assay_app;
GRANT UPDATE (revoked_at, revoked_by) ON credential_grants TO assay_app;
GRANT SELECT, INSERT, DELETE, UPDATE (version, sealed, sealed_token, token_expires_at) ON credential_secrets
    TO assay_app;
GRANT SELECT ON credentials, credential_grants, credential_uses TO assay_staff;
"""

# With the organization in the key, nothing of one organization can hang on a credential of another; and what hangs
# on a deleted organization goes with it, whatever code deletes it (R11).
KEYS = """
ALTER TABLE credentials ADD CONSTRAINT credentials_organization_fk
    FOREIGN KEY (organization_id) REFERENCES organizations (id) ON DELETE CASCADE;
ALTER TABLE credentials ADD CONSTRAINT credentials_of_organization UNIQUE (id, organization_id);
ALTER TABLE credential_secrets ADD CONSTRAINT credential_secrets_credential_fk
    FOREIGN KEY (credential_id, organization_id) REFERENCES credentials (id, organization_id) ON DELETE CASCADE;
ALTER TABLE credential_grants ADD CONSTRAINT credential_grants_credential_fk
    FOREIGN KEY (credential_id, organization_id) REFERENCES credentials (id, organization_id) ON DELETE CASCADE;
-- 'infinity' is an instant to PostgreSQL, and no end.
ALTER TABLE credential_grants ADD CONSTRAINT grant_ends CHECK (isfinite(expires_at) AND expires_at > created_at);
ALTER TABLE credential_grants ADD CONSTRAINT grant_names_agents CHECK (cardinality(context_ids) BETWEEN 1 AND 1000);
COMMENT ON COLUMN credential_uses.organization_id IS
    'No foreign key on purpose: see agent_compliance_runs.triggered_org_id.';
"""

POLICIES = "\n".join(
    f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY; ALTER TABLE {table} FORCE ROW LEVEL SECURITY;\n"
    f"CREATE POLICY organization_own ON {table} TO assay_app"
    f" USING (organization_id = {ORG}) WITH CHECK (organization_id = {ORG});"
    for table in ("credentials", "credential_secrets", "credential_grants", "credential_uses")
) + """
CREATE POLICY staff_looks ON credentials FOR SELECT TO assay_staff USING (true);
CREATE POLICY staff_looks ON credential_grants FOR SELECT TO assay_staff USING (true);
CREATE POLICY staff_looks ON credential_uses FOR SELECT TO assay_staff USING (true);
-- What heartbeat_credentials below needs, and no more.
CREATE POLICY finding_heartbeats ON credential_grants FOR SELECT TO assay_owner USING (for_heartbeats);
CREATE POLICY finding_heartbeats ON agent_contexts FOR SELECT TO assay_owner USING (relation = 'verified_owner');
"""

GUARDS = """
CREATE TRIGGER insert_only BEFORE UPDATE OR DELETE OR TRUNCATE ON credential_uses
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE FUNCTION guard_grant() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF OLD.revoked_at IS NOT NULL OR NEW.revoked_at IS NULL
           OR (to_jsonb(NEW) - 'revoked_at' - 'revoked_by') <> (to_jsonb(OLD) - 'revoked_at' - 'revoked_by') THEN
            RAISE EXCEPTION 'a grant is revoked once and never changed' USING ERRCODE = 'insufficient_privilege';
        END IF;
    ELSIF EXISTS (SELECT 1 FROM unnest(NEW.context_ids) AS named(id) WHERE NOT EXISTS (
            SELECT 1 FROM agent_contexts c WHERE c.id = named.id AND c.organization_id = NEW.organization_id)) THEN
        RAISE EXCEPTION 'a grant names agents of its own organization' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;
REVOKE ALL ON FUNCTION guard_grant() FROM PUBLIC;
CREATE TRIGGER guard_grant BEFORE INSERT OR UPDATE ON credential_grants
    FOR EACH ROW EXECUTE FUNCTION guard_grant();
"""

# The one thing that the platform learns of the vault: for these agents, which credential their verified owner granted
# for heartbeats, if any. One that has expired is named when there is no other, so that its refusal is on record. The
# secret is then read, and the use written down, inside that organization's own scope.
HEARTBEATS = """
CREATE FUNCTION heartbeat_credentials(urls text[])
RETURNS TABLE (agent_url text, organization_id varchar, credential_id uuid)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT DISTINCT ON (c.agent_url) c.agent_url, g.organization_id, g.credential_id
    FROM agent_contexts c
    JOIN credential_grants g ON g.organization_id = c.organization_id AND c.id = ANY (g.context_ids)
    WHERE c.agent_url = ANY (urls) AND c.relation = 'verified_owner' AND g.for_heartbeats AND g.revoked_at IS NULL
        AND coalesce((SELECT current_setting('app.platform', true)), '') = 'on'
    ORDER BY c.agent_url, (g.expires_at > now()) DESC, g.created_at, g.id
$$;
REVOKE ALL ON FUNCTION heartbeat_credentials(text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION heartbeat_credentials(text[]) TO assay_app;
"""


def sql(text: str) -> migrations.RunSQL:
    return migrations.RunSQL(text)


class Migration(migrations.Migration):

    dependencies = [
        ('compliance', '0007_engine_health'),
    ]

    operations = [
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
                ('context_ids', compliance.vault.models.UUIDArray()),
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
                ('organization_id', models.CharField(max_length=68)),
                ('at', models.DateTimeField(default=django.utils.timezone.now)),
                ('sent_to', models.CharField(choices=[('agent', 'The agent'), ('token_endpoint', 'The token endpoint')], max_length=14)),
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
        migrations.AddField(
            model_name='job',
            name='credential_choice',
            field=models.CharField(choices=[('automatic', 'The one that is granted'), ('none', 'None'), ('chosen', 'A chosen one')], db_default='automatic', default='automatic', max_length=10),
        ),
        migrations.AddField(
            model_name='job',
            name='credential_id',
            field=models.UUIDField(blank=True, null=True),
        ),
        migrations.AddConstraint(
            model_name='job',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('credential_choice', 'chosen'), ('credential_id__isnull', False)), models.Q(('credential_choice__in', ['automatic', 'none']), ('credential_id__isnull', True)), _connector='OR'), name='job_credential_iff_chosen'),
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
            model_name='credential',
            name='organization',
            field=models.ForeignKey(db_constraint=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='credentials', to='compliance.organization'),
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
            constraint=models.CheckConstraint(condition=models.Q(('sent_to__in', ['agent', 'token_endpoint'])), name='use_sent_to_known'),
        ),
        migrations.AddConstraint(
            model_name='credential',
            constraint=models.UniqueConstraint(models.F('organization'), django.db.models.functions.text.Lower('name'), condition=models.Q(('deleted_at__isnull', True)), name='one_credential_per_name'),
        ),
        migrations.AddConstraint(
            model_name='credential',
            constraint=models.CheckConstraint(condition=models.Q(('kind__in', ['bearer', 'basic', 'api_key', 'oauth'])), name='credential_kind_known'),
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
        sql(RIGHTS),
        sql(KEYS),
        sql(POLICIES),
        sql(GUARDS),
        sql(HEARTBEATS),
    ]
