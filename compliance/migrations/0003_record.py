"""What is only ever added to, what is derived from the record, and the partitions of evidence."""

import compliance.tenancy.schema
from django.db import migrations


class Migration(migrations.Migration):

    dependencies = [
        ('compliance', '0002_isolation'),
    ]

    operations = [
        migrations.AddConstraint(
            model_name='systemscopeuse',
            constraint=compliance.tenancy.schema.Function(body=compliance.tenancy.schema.SQL("""
                BEGIN
                    RAISE EXCEPTION '% is insert-only: % refused', TG_TABLE_NAME, TG_OP
                        USING ERRCODE = 'insufficient_privilege';
                END;
            """), language='plpgsql', name='refuse_change', returns='trigger'),
        ),
        migrations.AddConstraint(
            model_name='agentstatus',
            constraint=compliance.tenancy.schema.Function(arguments='url text', body=compliance.tenancy.schema.SQL("""
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
            """), language='sql STABLE', name='agent_status_from_runs', returns='TABLE(status varchar, since timestamptz, last_run_id uuid, last_run_at timestamptz, last_passed_at timestamptz, last_failed_at timestamptz)'),
        ),
        migrations.AddConstraint(
            model_name='agentstatus',
            constraint=compliance.tenancy.schema.Function(arguments='url text', as_owner=True, body=compliance.tenancy.schema.SQL("""
                BEGIN
                    -- One at a time for one agent: the probes below must see every run that committed before. Agents share
                    -- 1,024 locks, because a rebuild holds those of every agent that it mends, and the server's lock table
                    -- is finite.
                    PERFORM pg_advisory_xact_lock(1, mod(hashtext(url), 1024));
                    INSERT INTO agent_status
                        (agent_url, status, since, last_run_id, last_run_at, last_passed_at, last_failed_at)
                    SELECT url, s.status, s.since, s.last_run_id, s.last_run_at, s.last_passed_at, s.last_failed_at
                    FROM agent_status_from_runs(url) s
                    ON CONFLICT (agent_url) DO UPDATE
                    SET (status, since, last_run_id, last_run_at, last_passed_at, last_failed_at)
                        = (excluded.status, excluded.since, excluded.last_run_id, excluded.last_run_at,
                           excluded.last_passed_at, excluded.last_failed_at);
                END;
            """), language='plpgsql', name='refresh_agent_status', returns='void'),
        ),
        migrations.AddConstraint(
            model_name='agentstatus',
            constraint=compliance.tenancy.schema.Function(arguments='mend boolean', as_owner=True, body=compliance.tenancy.schema.SQL("""
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
                            IS DISTINCT FROM
                            (d.status, d.since, d.last_run_id, d.last_run_at, d.last_passed_at, d.last_failed_at)
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
                END;
            """), callers='assay_staff', language='plpgsql', name='rebuild_agent_status', returns='TABLE(agent_url text, stored jsonb, derived jsonb)'),
        ),
        migrations.AddConstraint(
            model_name='compliancerun',
            constraint=compliance.tenancy.schema.Trigger(as_owner=True, body=compliance.tenancy.schema.SQL("""
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
                END;
            """), event='AFTER INSERT', for_each='ROW', name='project_run'),
        ),
        migrations.AddConstraint(
            model_name='compliancerun',
            constraint=compliance.tenancy.schema.Statement(create=compliance.tenancy.schema.SQL("""
                CREATE STATISTICS runs_of_organization_and_agent (dependencies, mcv) ON triggered_org_id, agent_url
                    FROM agent_compliance_runs
            """), drop='DROP STATISTICS runs_of_organization_and_agent', name='runs_of_organization_and_agent'),
        ),
        migrations.AddConstraint(
            model_name='stepevidence',
            constraint=compliance.tenancy.schema.Function(arguments='months_ahead integer', as_owner=True, body=compliance.tenancy.schema.SQL("""
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
                END;
            """), callers='assay_app, assay_staff', language='plpgsql', name='ensure_evidence_partitions', returns='integer'),
        ),
        migrations.AddConstraint(
            model_name='stepevidence',
            constraint=compliance.tenancy.schema.Function(arguments='keep_months integer', as_owner=True, body=compliance.tenancy.schema.SQL("""
                DECLARE
                    partition text;
                    oldest text;
                    dropped integer := 0;
                BEGIN
                    IF (keep_months BETWEEN 3 AND 1200) IS NOT TRUE THEN
                        RAISE EXCEPTION 'keep_months must be 3 to 1200, not %', keep_months;
                    END IF;
                    oldest := to_char((now() AT TIME ZONE 'UTC') - make_interval(months => keep_months),
                        '"step_evidence_y"YYYY"m"MM');
                    FOR partition IN
                        SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
                        WHERE i.inhparent = 'public.step_evidence'::regclass AND c.relname < oldest
                    LOOP
                        EXECUTE format('DROP TABLE %I', partition);
                        dropped := dropped + 1;
                    END LOOP;
                    RETURN dropped;
                END;
            """), callers='assay_app, assay_staff', language='plpgsql', name='drop_expired_evidence', returns='integer'),
        ),
        migrations.AddConstraint(
            model_name='credentialuse',
            constraint=compliance.tenancy.schema.Trigger(event='BEFORE UPDATE OR DELETE OR TRUNCATE', for_each='STATEMENT', function='refuse_change', name='credentialuse_insert_only'),
        ),
        migrations.AddConstraint(
            model_name='monitordecision',
            constraint=compliance.tenancy.schema.Trigger(event='BEFORE UPDATE OR TRUNCATE', for_each='STATEMENT', function='refuse_change', name='monitordecision_insert_only'),
        ),
        migrations.AddConstraint(
            model_name='monitordecision',
            constraint=compliance.tenancy.schema.Trigger(condition="current_setting('app.forgetting', true) IS DISTINCT FROM 'on'", event='BEFORE DELETE', for_each='STATEMENT', function='refuse_change', name='monitordecision_deleted_when_old'),
        ),
        migrations.AddConstraint(
            model_name='stepevidence',
            constraint=compliance.tenancy.schema.Trigger(event='BEFORE UPDATE OR DELETE OR TRUNCATE', for_each='STATEMENT', function='refuse_change', name='stepevidence_insert_only'),
        ),
        migrations.AddConstraint(
            model_name='stepevidence',
            constraint=compliance.tenancy.schema.Trigger(event='BEFORE UPDATE OR DELETE', for_each='ROW', function='refuse_change', name='step_evidence_insert_only_rows'),
        ),
        migrations.AddConstraint(
            model_name='systemscopeuse',
            constraint=compliance.tenancy.schema.Trigger(event='BEFORE UPDATE OR DELETE OR TRUNCATE', for_each='STATEMENT', function='refuse_change', name='systemscopeuse_insert_only'),
        ),
        migrations.AddConstraint(
            model_name='rejectedreport',
            constraint=compliance.tenancy.schema.Trigger(event='BEFORE UPDATE OR TRUNCATE', for_each='STATEMENT', function='refuse_change', name='rejectedreport_insert_only'),
        ),
        migrations.AddConstraint(
            model_name='suiteversion',
            constraint=compliance.tenancy.schema.Trigger(event='BEFORE UPDATE OR DELETE OR TRUNCATE', for_each='STATEMENT', function='refuse_change', name='suiteversion_insert_only'),
        ),
        migrations.AddConstraint(
            model_name='compliancerun',
            constraint=compliance.tenancy.schema.Trigger(event='BEFORE UPDATE OR DELETE OR TRUNCATE', for_each='STATEMENT', function='refuse_change', name='compliancerun_insert_only'),
        ),
        migrations.AddConstraint(
            model_name='webhookdelivery',
            constraint=compliance.tenancy.schema.Trigger(event='BEFORE UPDATE OR TRUNCATE', for_each='STATEMENT', function='refuse_change', name='webhookdelivery_insert_only'),
        ),
        migrations.AddConstraint(
            model_name='webhookdelivery',
            constraint=compliance.tenancy.schema.Trigger(condition="current_setting('app.forgetting', true) IS DISTINCT FROM 'on'", event='BEFORE DELETE', for_each='STATEMENT', function='refuse_change', name='webhookdelivery_deleted_when_old'),
        ),
        # For this month and the next two. On the way back they stay, with their rows.
        migrations.RunSQL("SELECT ensure_evidence_partitions(2)", migrations.RunSQL.noop),
    ]
