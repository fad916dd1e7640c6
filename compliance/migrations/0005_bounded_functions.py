"""Bounds on what the app role may ask of the owner's functions, and the second lock on evidence reaches partitions.

The functions run with the owner's rights, past every policy, so the bounds are theirs and not the caller's: without
them one statement would list all organizations' waiting work, or drop nearly all evidence.
"""

from django.db import migrations

SQL = """
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
        WHERE r.state IN ('queued', 'leased')
            AND ((r.state = 'queued' AND r.dispatched_at < now() - nudge_after)
                 OR (r.state = 'leased' AND r.lease_expires_at < now()))
        ORDER BY r.created_at LIMIT at_most;
END $$;

CREATE OR REPLACE FUNCTION drop_expired_evidence(keep_months integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    partition text;
    oldest text;
    dropped integer := 0;
BEGIN
    IF (keep_months BETWEEN 3 AND 1200) IS NOT TRUE THEN
        RAISE EXCEPTION 'keep_months must be 3 to 1200, not %', keep_months;
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

-- The trigger on the whole table fires for statements on the whole table; this one is copied to each partition,
-- also to those made later.
CREATE TRIGGER insert_only_rows BEFORE UPDATE OR DELETE ON step_evidence
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
"""


class Migration(migrations.Migration):
    dependencies = [("compliance", "0004_provenance")]

    operations = [migrations.RunSQL(SQL)]
