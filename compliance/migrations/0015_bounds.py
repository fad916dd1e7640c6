"""Bounds on what private runners may do without end; the last runner of a pool stays while monitors need it."""

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


class Migration(migrations.Migration):

    dependencies = [
        ('compliance', '0014_webhooks'),
    ]

    operations = [
        migrations.AddField(
            model_name='compliancerequest',
            name='releases',
            field=models.PositiveSmallIntegerField(db_default=0, default=0, help_text='How often private runners handed it back.'),
        ),
        migrations.RunSQL(LAST_OF_POOL, migrations.RunSQL.noop),
    ]
