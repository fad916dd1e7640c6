"""Isolation and the record: grants, row-level security, triggers, evidence partitions and the last-test view.

Plain SQL, frozen here. docs/security.md says which line holds what. The owner role runs it; it
needs the roles of `manage.py database_roles`.
"""

from django.db import migrations, models

ORG = "nullif((select current_setting('app.organization_id', true)), '')"
USER = "nullif((select current_setting('app.user_id', true)), '')"
PLATFORM = "coalesce((select current_setting('app.platform', true)), '') = 'on'"

TENANT_TABLES = [
    "organizations",
    "memberships",
    "invitations",
    "agents",
    "agent_contexts",
    "agent_status",
    "agent_run_totals",
    "compliance_jobs",
    "agent_compliance_runs",
    "step_evidence",
]

GRANTS = """
-- Tables made from here on by the owner (Django's own and later migrations') are usable by both roles;
-- what must not be writable is taken away again by name, below and in the migration that makes it.
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO assay_app, assay_staff;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE, SELECT ON SEQUENCES TO assay_app, assay_staff;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO assay_app, assay_staff;
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO assay_app, assay_staff;
REVOKE ALL ON django_migrations FROM assay_app, assay_staff;
GRANT SELECT ON django_migrations TO assay_app, assay_staff;

-- The record is insert-only, and so are published suites and the record of looks.
REVOKE UPDATE, DELETE ON agent_compliance_runs, suite_versions, system_scope_uses FROM assay_app, assay_staff;
REVOKE INSERT, UPDATE, DELETE ON agent_status, agent_run_totals FROM assay_app, assay_staff;
REVOKE INSERT, UPDATE, DELETE ON suites, suite_versions FROM assay_app;
REVOKE ALL ON system_scope_uses FROM assay_app;
REVOKE DELETE ON agents FROM assay_app, assay_staff;
"""

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
    PRIMARY KEY (run_id, step_index, recorded_at)
) PARTITION BY RANGE (recorded_at);
COMMENT ON COLUMN step_evidence.organization_id IS
    'The organization that caused the run. No foreign key on purpose: see agent_compliance_runs.triggered_org_id.';

REVOKE ALL ON step_evidence FROM assay_app, assay_staff;
GRANT SELECT, INSERT ON step_evidence TO assay_app, assay_staff;

-- Partitions are tables of the owner, so the jobs that make and drop them go through these two functions.
CREATE FUNCTION ensure_evidence_partitions(months_ahead integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    month_start timestamptz;
    partition text;
    made integer := 0;
BEGIN
    IF months_ahead NOT BETWEEN 0 AND 24 THEN
        RAISE EXCEPTION 'months_ahead must be 0 to 24, not %', months_ahead;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('step_evidence partitions'));
    FOR ahead IN 0..months_ahead LOOP
        month_start := date_trunc('month', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC';
        month_start := (month_start AT TIME ZONE 'UTC' + make_interval(months => ahead)) AT TIME ZONE 'UTC';
        partition := to_char(month_start AT TIME ZONE 'UTC', '"step_evidence_y"YYYY"m"MM');
        IF to_regclass('public.' || partition) IS NULL THEN
            EXECUTE format(
                'CREATE TABLE %I PARTITION OF step_evidence FOR VALUES FROM (%L) TO (%L)',
                partition, month_start,
                (month_start AT TIME ZONE 'UTC' + interval '1 month') AT TIME ZONE 'UTC'
            );
            EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', partition);
            EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', partition);
            EXECUTE format('REVOKE ALL ON %I FROM assay_app, assay_staff', partition);
            made := made + 1;
        END IF;
    END LOOP;
    RETURN made;
END $$;

CREATE FUNCTION drop_expired_evidence(keep_months integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    partition text;
    oldest text;
    dropped integer := 0;
BEGIN
    IF keep_months < 1 THEN
        RAISE EXCEPTION 'keep_months must be 1 or more, not %', keep_months;
    END IF;
    oldest := to_char((now() AT TIME ZONE 'UTC') - make_interval(months => keep_months), '"step_evidence_y"YYYY"m"MM');
    FOR partition IN
        SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'public.step_evidence'::regclass AND c.relname < oldest
    LOOP
        EXECUTE format('DROP TABLE %I', partition);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END $$;
REVOKE ALL ON FUNCTION ensure_evidence_partitions(integer), drop_expired_evidence(integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ensure_evidence_partitions(integer), drop_expired_evidence(integer) TO assay_app, assay_staff;
SELECT ensure_evidence_partitions(2);
"""

POLICIES = "\n".join(
    f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY; ALTER TABLE {table} FORCE ROW LEVEL SECURITY;\n"
    f"CREATE POLICY staff_everything ON {table} TO assay_staff USING (true) WITH CHECK (true);"
    for table in TENANT_TABLES
) + f"""
CREATE POLICY organization_itself ON organizations TO assay_app USING (id = {ORG}) WITH CHECK (id = {ORG});
CREATE POLICY member_sees_own ON organizations FOR SELECT TO assay_app
    USING (id IN (SELECT m.organization_id FROM memberships m WHERE m.user_id = {USER}::bigint));

CREATE POLICY organization_own ON memberships TO assay_app
    USING (organization_id = {ORG}) WITH CHECK (organization_id = {ORG});
CREATE POLICY member_sees_own ON memberships FOR SELECT TO assay_app USING (user_id = {USER}::bigint);

CREATE POLICY organization_own ON invitations TO assay_app
    USING (organization_id = {ORG}) WITH CHECK (organization_id = {ORG});

CREATE POLICY organization_own ON agent_contexts TO assay_app
    USING (organization_id = {ORG}) WITH CHECK (organization_id = {ORG});

-- An agent belongs to nobody; its address may be a secret of those who registered it.
CREATE POLICY registered_agents ON agents FOR SELECT TO assay_app USING ({PLATFORM} OR EXISTS (
    SELECT 1 FROM agent_contexts c WHERE c.organization_id = {ORG} AND c.agent_url = agents.agent_url));
CREATE POLICY registering ON agents FOR INSERT TO assay_app WITH CHECK ({PLATFORM} OR {ORG} IS NOT NULL);
CREATE POLICY verified_owner_decides ON agents FOR UPDATE TO assay_app
    USING ({PLATFORM} OR EXISTS (SELECT 1 FROM agent_contexts c WHERE c.organization_id = {ORG}
        AND c.agent_url = agents.agent_url AND c.relation = 'verified_owner'))
    WITH CHECK ({PLATFORM} OR EXISTS (SELECT 1 FROM agent_contexts c WHERE c.organization_id = {ORG}
        AND c.agent_url = agents.agent_url AND c.relation = 'verified_owner'));

CREATE POLICY registered_agents ON agent_status FOR SELECT TO assay_app USING ({PLATFORM} OR EXISTS (
    SELECT 1 FROM agent_contexts c WHERE c.organization_id = {ORG} AND c.agent_url = agent_status.agent_url));

CREATE POLICY organization_own ON agent_run_totals FOR SELECT TO assay_app USING (organization_id = {ORG});

CREATE POLICY organization_own ON compliance_jobs TO assay_app
    USING (organization_id = {ORG}) WITH CHECK (organization_id = {ORG});
CREATE POLICY platform_own ON compliance_jobs TO assay_app
    USING (organization_id IS NULL AND {PLATFORM}) WITH CHECK (organization_id IS NULL AND {PLATFORM});

-- Who may read a run: the organization that caused it; of a run with no organization, each that has the agent.
-- CASE and not OR: an OR invites the planner to collect and sort an agent's whole history by both its arms.
CREATE POLICY readers ON agent_compliance_runs FOR SELECT TO assay_app USING (
    CASE WHEN triggered_org_id IS NOT NULL THEN triggered_org_id = {ORG}
    ELSE {PLATFORM} OR EXISTS (SELECT 1 FROM agent_contexts c
        WHERE c.organization_id = {ORG} AND c.agent_url = agent_compliance_runs.agent_url) END);
CREATE POLICY recording ON agent_compliance_runs FOR INSERT TO assay_app
    WITH CHECK (triggered_org_id = {ORG} OR (triggered_org_id IS NULL AND {PLATFORM}));

-- Who may read evidence: narrower than the run when there was no organization.
CREATE POLICY readers ON step_evidence FOR SELECT TO assay_app USING (
    organization_id = {ORG}
    OR (organization_id IS NULL AND credential_organization_id = {ORG})
    OR (organization_id IS NULL AND credential_organization_id IS NULL AND EXISTS (SELECT 1 FROM agent_contexts c
        WHERE c.organization_id = {ORG} AND c.agent_url = step_evidence.agent_url AND c.relation = 'verified_owner')));
CREATE POLICY recording ON step_evidence FOR INSERT TO assay_app
    WITH CHECK (organization_id = {ORG} OR (organization_id IS NULL AND {PLATFORM}));

-- FORCE binds the owner too. What its SECURITY DEFINER functions below need, and no more:
CREATE POLICY projection_reads ON agent_compliance_runs FOR SELECT TO assay_owner USING (true);
CREATE POLICY projection ON agent_status TO assay_owner USING (true) WITH CHECK (true);
CREATE POLICY projection ON agent_run_totals TO assay_owner USING (true) WITH CHECK (true);
CREATE POLICY registrations ON agents TO assay_owner USING (true) WITH CHECK (true);
CREATE POLICY sweeping ON compliance_jobs FOR SELECT TO assay_owner USING (true);
CREATE POLICY cancelling ON compliance_jobs FOR UPDATE TO assay_owner
    USING (organization_id IS NOT NULL) WITH CHECK (state = 'cancelled');
"""

INSERT_ONLY = """
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is insert-only: % refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER insert_only BEFORE UPDATE OR DELETE OR TRUNCATE ON agent_compliance_runs
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER insert_only BEFORE UPDATE OR DELETE OR TRUNCATE ON step_evidence
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER insert_only BEFORE UPDATE OR DELETE OR TRUNCATE ON suite_versions
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER insert_only BEFORE UPDATE OR DELETE OR TRUNCATE ON system_scope_uses
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""

PROJECTIONS = """
-- The status of one agent, asked of the record by index probes alone. Zero rows when no run moves its status.
CREATE FUNCTION agent_status_from_runs(url text)
RETURNS TABLE (status varchar, since timestamptz, last_run_id uuid, last_run_at timestamptz,
               last_passed_at timestamptz, last_failed_at timestamptz)
LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
    WITH of_status AS (
        SELECT r.* FROM unnest(ARRAY['passing', 'partial', 'failing']) AS s(status)
        CROSS JOIN LATERAL (
            SELECT id, overall_status, tested_at FROM agent_compliance_runs
            WHERE moves_status AND agent_url = url AND overall_status = s.status
            ORDER BY tested_at DESC, id DESC LIMIT 1
        ) r
    ),
    latest AS (SELECT * FROM of_status ORDER BY tested_at DESC, id DESC LIMIT 1),
    before AS (SELECT o.* FROM of_status o, latest l WHERE o.id <> l.id ORDER BY o.tested_at DESC, o.id DESC LIMIT 1)
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
$$;

CREATE FUNCTION refresh_agent_status(url text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    -- One at a time for one agent: the probes below must see every run that committed before. Agents share 1,024
    -- locks, because a rebuild holds those of every agent that it mends, and the server's lock table is finite.
    PERFORM pg_advisory_xact_lock(1, mod(hashtext(url), 1024));
    INSERT INTO agent_status (agent_url, status, since, last_run_id, last_run_at, last_passed_at, last_failed_at)
    SELECT url, s.status, s.since, s.last_run_id, s.last_run_at, s.last_passed_at, s.last_failed_at
    FROM agent_status_from_runs(url) s
    ON CONFLICT (agent_url) DO UPDATE SET (status, since, last_run_id, last_run_at, last_passed_at, last_failed_at)
        = (excluded.status, excluded.since, excluded.last_run_id, excluded.last_run_at,
           excluded.last_passed_at, excluded.last_failed_at);
END $$;

CREATE FUNCTION project_run() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF NEW.triggered_org_id IS NOT NULL AND NOT NEW.dry_run AND NEW.overall_status <> 'inconclusive' THEN
        INSERT INTO agent_run_totals AS t (organization_id, agent_url, total)
        VALUES (NEW.triggered_org_id, NEW.agent_url, 1)
        ON CONFLICT (organization_id, agent_url) DO UPDATE SET total = t.total + 1;
    END IF;
    IF NEW.moves_status THEN
        PERFORM refresh_agent_status(NEW.agent_url);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER project_run AFTER INSERT ON agent_compliance_runs FOR EACH ROW EXECUTE FUNCTION project_run();

-- Every agent whose stored status differs from what its runs say; mended when asked to.
CREATE FUNCTION rebuild_agent_status(mend boolean)
RETURNS TABLE (agent_url text, stored jsonb, derived jsonb)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
#variable_conflict use_column
DECLARE
    difference record;
BEGIN
    FOR difference IN
        SELECT a.agent_url AS url, to_jsonb(s) - 'agent_url' AS was, to_jsonb(d) AS is_now
        FROM agents a
        LEFT JOIN agent_status s ON s.agent_url = a.agent_url
        LEFT JOIN LATERAL agent_status_from_runs(a.agent_url) d ON true
        WHERE (s.status, s.since, s.last_run_id, s.last_run_at, s.last_passed_at, s.last_failed_at)
            IS DISTINCT FROM (d.status, d.since, d.last_run_id, d.last_run_at, d.last_passed_at, d.last_failed_at)
        ORDER BY a.agent_url
    LOOP
        IF mend THEN
            PERFORM pg_advisory_xact_lock(1, mod(hashtext(difference.url), 1024));
            DELETE FROM agent_status st WHERE st.agent_url = difference.url;
            PERFORM refresh_agent_status(difference.url);
        END IF;
        agent_url := difference.url;
        stored := difference.was;
        derived := difference.is_now;
        RETURN NEXT;
    END LOOP;
END $$;
REVOKE ALL ON FUNCTION agent_status_from_runs(text), refresh_agent_status(text), rebuild_agent_status(boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION rebuild_agent_status(boolean) TO assay_staff;
"""

STATISTICS = """
-- An agent's runs are mostly one organization's. Without knowing that, the planner expects a handful of rows where
-- there are a hundred thousand, and sorts them instead of walking the index.
CREATE STATISTICS runs_of_organization_and_agent (dependencies, mcv) ON triggered_org_id, agent_url
    FROM agent_compliance_runs;
"""

REGISTRY = """
CREATE FUNCTION heartbeat_slot(agent_url text, interval_hours integer, after timestamptz) RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT to_timestamp(offset_s + (floor((extract(epoch FROM after) - offset_s) / period_s) + 1) * period_s)
    FROM (SELECT interval_hours * 3600 AS period_s,
                 mod(mod(hashtextextended(agent_url, 0), interval_hours * 3600) + interval_hours * 3600,
                     interval_hours * 3600) AS offset_s) AS slots
$$;

CREATE FUNCTION guard_context() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.relation = 'verified_owner' AND current_user = 'assay_app'
       AND (TG_OP = 'INSERT' OR OLD.relation <> 'verified_owner') THEN
        RAISE EXCEPTION 'only staff may mark a verified owner' USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF TG_OP = 'UPDATE' AND (NEW.agent_url, NEW.organization_id) <> (OLD.agent_url, OLD.organization_id) THEN
        RAISE EXCEPTION 'a context keeps its agent and its organization' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER guard_context BEFORE INSERT OR UPDATE ON agent_contexts FOR EACH ROW EXECUTE FUNCTION guard_context();

CREATE FUNCTION count_registrations() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        UPDATE agents SET registrations = registrations + 1 WHERE agent_url = NEW.agent_url;
    ELSE
        UPDATE agents SET registrations = registrations - 1 WHERE agent_url = OLD.agent_url;
        -- Without the context the organization's work can no longer see the agent: it would wait for ever.
        UPDATE compliance_jobs SET state = 'cancelled', finished_at = now(), lease_token = NULL, lease_expires_at = NULL
        WHERE organization_id = OLD.organization_id AND agent_url = OLD.agent_url AND state IN ('queued', 'leased');
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER count_registrations AFTER INSERT OR DELETE ON agent_contexts
    FOR EACH ROW EXECUTE FUNCTION count_registrations();

-- R11: the runs of a deleted organization stay unreachable, because its key is never given out again.
CREATE TABLE organization_tombstones (id varchar(68) PRIMARY KEY, deleted_at timestamptz NOT NULL DEFAULT now());
REVOKE ALL ON organization_tombstones FROM assay_app, assay_staff;
CREATE FUNCTION bury_organization() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        INSERT INTO organization_tombstones (id) VALUES (OLD.id) ON CONFLICT DO NOTHING;
        RETURN OLD;
    END IF;
    IF EXISTS (SELECT 1 FROM organization_tombstones t WHERE t.id = NEW.id) THEN
        RAISE EXCEPTION 'organization % was deleted; its key cannot be used again', NEW.id
            USING ERRCODE = 'unique_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER bury_organization BEFORE INSERT OR DELETE ON organizations
    FOR EACH ROW EXECUTE FUNCTION bury_organization();

-- What the sweeper looks for, and no more of it than is needed to open the right scope.
CREATE FUNCTION stale_jobs(nudge_after interval, at_most integer) RETURNS TABLE (id uuid, organization_id varchar)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT r.id, r.organization_id FROM compliance_jobs r
    WHERE r.state IN ('queued', 'leased')
        AND ((r.state = 'queued' AND r.dispatched_at < now() - nudge_after)
             OR (r.state = 'leased' AND r.lease_expires_at < now()))
    ORDER BY r.created_at LIMIT at_most
$$;
REVOKE ALL ON FUNCTION stale_jobs(interval, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION stale_jobs(interval, integer) TO assay_app;
"""

# DROP and CREATE with the option restated: CREATE OR REPLACE silently drops security_invoker.
VIEW = """
DROP VIEW IF EXISTS agent_context_with_latest_test;
CREATE VIEW agent_context_with_latest_test WITH (security_invoker = true) AS
SELECT c.id, c.organization_id, c.agent_url, c.name, c.relation, c.created_at,
    r.id AS last_test_run_id,
    r.overall_status AS last_test_status,
    (r.overall_status = 'passing') AS last_test_passed,
    r.first_track AS last_test_scenario,
    r.headline AS last_test_summary,
    r.tested_at AS last_tested_at,
    coalesce(t.total, 0) AS total_tests_run
FROM agent_contexts c
LEFT JOIN LATERAL (
    SELECT run.id, run.overall_status, run.first_track, run.headline, run.tested_at
    FROM agent_compliance_runs run
    WHERE run.triggered_org_id = c.organization_id AND run.agent_url = c.agent_url
        AND run.triggered_org_id IS NOT NULL AND NOT run.dry_run AND run.overall_status <> 'inconclusive'
    ORDER BY run.tested_at DESC, run.id DESC
    LIMIT 1
) r ON true
LEFT JOIN agent_run_totals t ON t.organization_id = c.organization_id AND t.agent_url = c.agent_url;
REVOKE INSERT, UPDATE, DELETE ON agent_context_with_latest_test FROM assay_app, assay_staff;
"""

STEP_EVIDENCE = migrations.CreateModel(
    name="StepEvidence",
    fields=[
        ("pk", models.CompositePrimaryKey("run_id", "step_index", "recorded_at", blank=True, editable=False, primary_key=True, serialize=False)),
        ("run_id", models.UUIDField()),
        ("step_index", models.PositiveSmallIntegerField(help_text="The step's place in the report, from 0.")),
        ("recorded_at", models.DateTimeField()),
        ("agent_url", models.TextField()),
        ("organization_id", models.CharField(blank=True, max_length=68, null=True)),
        ("credential_organization_id", models.CharField(blank=True, max_length=68, null=True)),
        ("request", models.JSONField(null=True)),
        ("response", models.JSONField(null=True)),
    ],
    options={"db_table": "step_evidence"},
)


def sql(text: str) -> migrations.RunSQL:
    return migrations.RunSQL(text)


class Migration(migrations.Migration):
    dependencies = [("compliance", "0001_tables")]

    operations = [
        # First the rights, so that none of them falls on a partition made afterwards.
        sql(GRANTS),
        migrations.SeparateDatabaseAndState(database_operations=[sql(EVIDENCE)], state_operations=[STEP_EVIDENCE]),
        sql(POLICIES),
        sql(INSERT_ONLY),
        sql(PROJECTIONS),
        sql(STATISTICS),
        sql(REGISTRY),
        sql(VIEW),
    ]
