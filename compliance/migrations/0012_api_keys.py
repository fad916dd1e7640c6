"""API keys, of organizations and of their runners; and an index for a list of all that an organization caused."""

import compliance.tenancy.ids
import compliance.tenancy.fields
import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models


ORG = "nullif((select current_setting('app.organization_id', true)), '')"

# Rights are given anew, because default privileges gave both serving roles everything. A key is revoked, never deleted
# but by its organization's end, and otherwise never changed. Staff see all of it but the hash.
RIGHTS = """
REVOKE ALL ON api_keys FROM assay_app, assay_staff;
GRANT SELECT, INSERT, UPDATE (revoked_at, revoked_by, last_used_at) ON api_keys TO assay_app;
GRANT SELECT (id, organization_id, name, prefix, scopes, runner_id, created_at, created_by, expires_at, revoked_at,
    revoked_by, last_used_at) ON api_keys TO assay_staff;
"""

KEYS = """
ALTER TABLE api_keys ADD CONSTRAINT api_keys_organization_fk
    FOREIGN KEY (organization_id) REFERENCES organizations (id) ON DELETE CASCADE;
ALTER TABLE api_keys ADD CONSTRAINT api_keys_runner_fk
    FOREIGN KEY (runner_id, organization_id) REFERENCES runners (id, organization_id);
-- 'infinity' is an instant to PostgreSQL, and no end.
ALTER TABLE api_keys ADD CONSTRAINT key_ends CHECK (isfinite(expires_at) AND expires_at > created_at);
ALTER TABLE api_keys ADD CONSTRAINT key_scopes_known CHECK (
    cardinality(scopes) > 0 AND array_position(scopes, NULL) IS NULL
    AND scopes <@ ARRAY['read', 'test', 'manage', 'runner']);
-- A runner's key is for its work alone, and no other key does that work.
ALTER TABLE api_keys ADD CONSTRAINT key_of_runner_iff_scope_runner CHECK (
    CASE WHEN runner_id IS NULL THEN NOT 'runner' = ANY (scopes) ELSE scopes = ARRAY['runner'] END);
"""

POLICIES = f"""
ALTER TABLE api_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE api_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY organization_own ON api_keys TO assay_app
    USING (organization_id = {ORG}) WITH CHECK (organization_id = {ORG});
CREATE POLICY staff_looks ON api_keys FOR SELECT TO assay_staff USING (true);
-- What find_api_key needs, and no more.
CREATE POLICY finding_key ON api_keys FOR SELECT TO assay_owner USING (true);
"""

GUARDS = """
CREATE FUNCTION guard_api_key() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF (OLD.revoked_at IS NOT NULL AND (NEW.revoked_at, NEW.revoked_by) IS DISTINCT FROM (OLD.revoked_at, OLD.revoked_by))
       OR (to_jsonb(NEW) - 'revoked_at' - 'revoked_by' - 'last_used_at')
          <> (to_jsonb(OLD) - 'revoked_at' - 'revoked_by' - 'last_used_at') THEN
        RAISE EXCEPTION 'a key is revoked once and never changed' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;
REVOKE ALL ON FUNCTION guard_api_key() FROM PUBLIC;
CREATE TRIGGER guard_api_key BEFORE UPDATE ON api_keys FOR EACH ROW EXECUTE FUNCTION guard_api_key();

-- The one thing that is asked before it is known whose scope to open: the key of a token, for who has the whole of it.
CREATE FUNCTION find_api_key(wanted text)
RETURNS TABLE (id uuid, organization_id varchar, name varchar, scopes text[], runner_id uuid,
    expires_at timestamptz, revoked_at timestamptz, last_used_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT k.id, k.organization_id, k.name, k.scopes, k.runner_id, k.expires_at, k.revoked_at, k.last_used_at
    FROM api_keys k WHERE k.secret_hash = wanted
$$;
REVOKE ALL ON FUNCTION find_api_key(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION find_api_key(text) TO assay_app;
"""


def sql(text: str) -> migrations.RunSQL:
    return migrations.RunSQL(text)


class Migration(migrations.Migration):

    dependencies = [
        ('compliance', '0011_private_runners'),
    ]

    operations = [
        migrations.CreateModel(
            name='ApiKey',
            fields=[
                ('id', models.UUIDField(default=compliance.tenancy.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('name', models.CharField(max_length=100)),
                ('prefix', models.CharField(help_text="The token's public part, to tell keys apart by.", max_length=8, unique=True)),
                ('secret_hash', models.CharField(help_text='SHA-256 of the whole token, in hex.', max_length=64, unique=True)),
                ('scopes', compliance.tenancy.fields.TextArray(help_text='Values of Scope.')),
                ('runner_id', models.UUIDField(blank=True, help_text='The runner whose key it is.', null=True)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ('created_by', models.CharField(help_text='As they were called then.', max_length=254)),
                ('expires_at', models.DateTimeField()),
                ('revoked_at', models.DateTimeField(blank=True, null=True)),
                ('revoked_by', models.CharField(blank=True, max_length=254)),
                ('last_used_at', models.DateTimeField(blank=True, help_text='To the minute.', null=True)),
                ('organization', models.ForeignKey(db_constraint=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='api_keys', to='compliance.organization')),
            ],
            options={
                'verbose_name': 'API key',
                'db_table': 'api_keys',
                'indexes': [models.Index(fields=['organization', '-created_at', '-id'], name='keys_newest'), models.Index(condition=models.Q(('runner_id__isnull', False)), fields=['organization', 'runner_id'], name='keys_of_runner')],
                'constraints': [models.CheckConstraint(condition=models.Q(('prefix__regex', '^[0-9A-Za-z]{8}$')), name='key_prefix_shape'), models.CheckConstraint(condition=models.Q(('secret_hash__regex', '^[0-9a-f]{64}$')), name='key_hash_shape'), models.CheckConstraint(condition=models.Q(models.Q(('revoked_at__isnull', True), ('revoked_by', '')), ('revoked_at__isnull', False), _connector='OR'), name='key_revoked_by_iff_revoked')],
            },
        ),
        migrations.AddIndex(
            model_name='compliancerun',
            index=models.Index(models.F('triggered_org_id'), models.OrderBy(models.F('tested_at'), descending=True), models.OrderBy(models.F('id'), descending=True), condition=models.Q(('triggered_org_id__isnull', False)), name='runs_own_newest'),
        ),
        sql(RIGHTS),
        sql(KEYS),
        sql(POLICIES),
        sql(GUARDS),
    ]
