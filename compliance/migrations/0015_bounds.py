"""Bounds on what private runners may do without end; the last runner of a pool stays while monitors need it.

And on what can be written about the tick: that it came, now, and nothing else; and waiting runners are found however
many there are.
"""

from django.db import migrations, models


# L14: whoever pins a monitor to a pool holds a share of the key of each of its runners, and so does who deletes
# another one of them: so either sees what the other did, or one of them is stopped.
LAST_OF_POOL = """
CREATE OR REPLACE FUNCTION guard_runner() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
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
    IF OLD.pool <> '' AND (NEW.state = 'deleted' OR NEW.pool <> OLD.pool) THEN
        PERFORM 1 FROM runners r
        WHERE r.organization_id = OLD.organization_id AND r.pool = OLD.pool AND r.id <> OLD.id AND r.state <> 'deleted'
        ORDER BY r.id FOR KEY SHARE;
        IF NOT FOUND AND EXISTS (SELECT 1 FROM monitors m
            WHERE m.organization_id = OLD.organization_id AND m.pool = OLD.pool AND m.state <> 'archived') THEN
            RAISE EXCEPTION 'monitors are pinned to the pool of which this is the last runner'
                USING ERRCODE = 'foreign_key_violation';
        END IF;
    END IF;
    RETURN NEW;
END $$;
DROP TRIGGER guard_runner ON runners;
CREATE TRIGGER guard_runner BEFORE UPDATE OF state, pool ON runners FOR EACH ROW EXECUTE FUNCTION guard_runner();
"""

# L18: one write by whoever has the app role's password must not keep the dead-man switch quiet. When a phase began,
# completed or failed is now, and which there are, and since when, is not theirs to change. No function takes the place
# of the rights, because migrations run while the code before them still serves.
PHASES = """
CREATE FUNCTION guard_phase() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF NEW.name NOT IN ('heartbeats', 'monitors', 'runners') THEN
        RAISE EXCEPTION 'there is no such phase of the tick' USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF TG_OP = 'UPDATE' AND (NEW.name, NEW.made_at) IS DISTINCT FROM (OLD.name, OLD.made_at)
        OR TG_OP = 'INSERT' AND NEW.made_at NOT IN (now(), statement_timestamp()) THEN
        RAISE EXCEPTION 'a phase of the tick stays as it was made' USING ERRCODE = 'insufficient_privilege';
    END IF;
    -- Of a row that is inserted, OLD is all NULL.
    IF NEW.last_started_at IS DISTINCT FROM OLD.last_started_at
            AND NEW.last_started_at IS DISTINCT FROM statement_timestamp()
        OR NEW.last_completed_at IS DISTINCT FROM OLD.last_completed_at
            AND NEW.last_completed_at IS DISTINCT FROM statement_timestamp()
        OR NEW.last_failed_at IS DISTINCT FROM OLD.last_failed_at
            AND NEW.last_failed_at IS DISTINCT FROM statement_timestamp() THEN
        RAISE EXCEPTION 'what comes of a phase of the tick comes now' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;
REVOKE ALL ON FUNCTION guard_phase() FROM PUBLIC, assay_app, assay_staff;
CREATE TRIGGER guard_phase BEFORE INSERT OR UPDATE ON tick_phases FOR EACH ROW EXECUTE FUNCTION guard_phase();
"""

# Which of these keys there is work for. Asked for all of them, an answer that is cut could leave out the same ones for
# ever. The function without keys stays for those who still run the code from before.
WAITING = """
CREATE FUNCTION waiting_work(wanted text[]) RETURNS TABLE (key text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT DISTINCT w.key FROM (
        SELECT CASE WHEN r.runner_id IS NOT NULL THEN 'runner:' || r.runner_id
            ELSE 'pool:' || r.organization_id || ':' || r.pool END AS key
        FROM compliance_jobs r
        WHERE r.state IN ('queued', 'leased') AND r.executor_kind = 'private' AND r.state = 'queued'
            AND r.expires_at > now()
    ) AS w
    WHERE w.key = ANY (wanted)
$$;
REVOKE ALL ON FUNCTION waiting_work(text[]) FROM PUBLIC, assay_staff;
GRANT EXECUTE ON FUNCTION waiting_work(text[]) TO assay_app;
"""


class Migration(migrations.Migration):

    dependencies = [
        ('compliance', '0014_webhooks'),
    ]

    operations = [
        migrations.AddField(
            model_name='job',
            name='releases',
            field=models.PositiveSmallIntegerField(db_default=0, default=0, help_text='How often private runners handed it back.'),
        ),
        migrations.RunSQL(LAST_OF_POOL),
        migrations.RunSQL(PHASES),
        migrations.RunSQL(WAITING),
    ]
