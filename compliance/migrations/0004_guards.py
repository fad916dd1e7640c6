"""Triggers that keep rows true to each other, and those that count."""

import compliance.tenancy.schema
from django.db import migrations


class Migration(migrations.Migration):

    dependencies = [
        ('compliance', '0003_record'),
    ]

    operations = [
        migrations.AddConstraint(
            model_name='runner',
            constraint=compliance.tenancy.schema.Function(body=compliance.tenancy.schema.SQL("""
                BEGIN
                    PERFORM 1 FROM runners r
                    WHERE r.organization_id = NEW.organization_id AND r.state <> 'deleted'
                        AND (r.id = NEW.runner_id OR (NEW.pool <> '' AND r.pool = NEW.pool))
                    ORDER BY r.id FOR KEY SHARE;
                    IF NOT FOUND THEN
                        RAISE EXCEPTION 'there is no such private runner' USING ERRCODE = 'foreign_key_violation';
                    END IF;
                    RETURN NEW;
                END;
            """), language='plpgsql', name='guard_pin', returns='trigger'),
        ),
        migrations.AddConstraint(
            model_name='job',
            constraint=compliance.tenancy.schema.Statement(create='CREATE SEQUENCE leases_run_out; REVOKE ALL ON SEQUENCE leases_run_out FROM PUBLIC, assay_app, assay_staff', drop='DROP SEQUENCE leases_run_out', name='leases_run_out'),
        ),
        migrations.AddConstraint(
            model_name='organization',
            constraint=compliance.tenancy.schema.Trigger(as_owner=True, body=compliance.tenancy.schema.SQL("""
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
                END;
            """), event='BEFORE INSERT OR DELETE', for_each='ROW', name='never_reuse_key'),
        ),
        migrations.AddConstraint(
            model_name='apikey',
            constraint=compliance.tenancy.schema.Trigger(body=compliance.tenancy.schema.SQL("""
                BEGIN
                    IF (OLD.revoked_at IS NOT NULL AND (NEW.revoked_at, NEW.revoked_by)
                           IS DISTINCT FROM (OLD.revoked_at, OLD.revoked_by))
                       OR (to_jsonb(NEW) - 'revoked_at' - 'revoked_by' - 'last_used_at')
                          <> (to_jsonb(OLD) - 'revoked_at' - 'revoked_by' - 'last_used_at') THEN
                        RAISE EXCEPTION 'a key is revoked once and never changed' USING ERRCODE = 'insufficient_privilege';
                    END IF;
                    RETURN NEW;
                END;
            """), event='BEFORE UPDATE', for_each='ROW', name='guard_api_key'),
        ),
        migrations.AddConstraint(
            model_name='agentcontext',
            constraint=compliance.tenancy.schema.Trigger(body=compliance.tenancy.schema.SQL("""
                BEGIN
                    IF NEW.relation = 'verified_owner' AND current_user = 'assay_app'
                       AND (TG_OP = 'INSERT' OR OLD.relation <> 'verified_owner') THEN
                        RAISE EXCEPTION 'only staff may mark a verified owner' USING ERRCODE = 'insufficient_privilege';
                    END IF;
                    IF TG_OP = 'UPDATE' AND (NEW.agent_url, NEW.organization_id) <> (OLD.agent_url, OLD.organization_id) THEN
                        RAISE EXCEPTION 'a context keeps its agent and its organization'
                            USING ERRCODE = 'insufficient_privilege';
                    END IF;
                    RETURN NEW;
                END;
            """), event='BEFORE INSERT OR UPDATE', for_each='ROW', name='guard_context'),
        ),
        migrations.AddConstraint(
            model_name='agentcontext',
            constraint=compliance.tenancy.schema.Trigger(as_owner=True, body=compliance.tenancy.schema.SQL("""
                BEGIN
                    IF TG_OP = 'INSERT' THEN
                        UPDATE agents SET registrations = registrations + 1 WHERE agent_url = NEW.agent_url;
                    ELSE
                        UPDATE agents SET registrations = registrations - 1 WHERE agent_url = OLD.agent_url;
                    END IF;
                    RETURN NULL;
                END;
            """), event='AFTER INSERT OR DELETE', for_each='ROW', name='count_registrations'),
        ),
        migrations.AddConstraint(
            model_name='runner',
            constraint=compliance.tenancy.schema.Trigger(body=compliance.tenancy.schema.SQL("""
                BEGIN
                    IF OLD.state = 'deleted' THEN
                        RAISE EXCEPTION 'a deleted runner stays as it is' USING ERRCODE = 'insufficient_privilege';
                    END IF;
                    -- Whoever works for it, or pins something to it, holds a share of its key: all of them are waited for.
                    PERFORM 1 FROM runners r WHERE r.id = OLD.id FOR UPDATE;
                    -- And of two that leave a pool at once, one waits for the other, and sees that it is the last.
                    IF OLD.pool <> '' AND (NEW.state = 'deleted' OR NEW.pool <> OLD.pool) THEN
                        PERFORM 1 FROM runners r
                        WHERE r.organization_id = OLD.organization_id AND r.pool = OLD.pool AND r.id <> OLD.id
                            AND r.state <> 'deleted'
                        ORDER BY r.id FOR KEY SHARE;
                    END IF;
                    RETURN NEW;
                END;
            """), event='BEFORE UPDATE OF state, pool', for_each='ROW', name='guard_runner'),
        ),
        migrations.AddConstraint(
            model_name='credentialgrant',
            constraint=compliance.tenancy.schema.Trigger(body=compliance.tenancy.schema.SQL("""
                BEGIN
                    IF TG_OP = 'UPDATE' THEN
                        IF OLD.revoked_at IS NOT NULL OR NEW.revoked_at IS NULL
                           OR (to_jsonb(NEW) - 'revoked_at' - 'revoked_by')
                              <> (to_jsonb(OLD) - 'revoked_at' - 'revoked_by') THEN
                            RAISE EXCEPTION 'a grant is revoked once and never changed'
                                USING ERRCODE = 'insufficient_privilege';
                        END IF;
                    ELSIF EXISTS (SELECT 1 FROM unnest(NEW.context_ids) AS named(id) WHERE NOT EXISTS (
                            SELECT 1 FROM agent_contexts c WHERE c.id = named.id
                                AND c.organization_id = NEW.organization_id)) THEN
                        RAISE EXCEPTION 'a grant names agents of its own organization' USING ERRCODE = 'insufficient_privilege';
                    END IF;
                    RETURN NEW;
                END;
            """), event='BEFORE INSERT OR UPDATE', for_each='ROW', name='guard_grant'),
        ),
        migrations.AddConstraint(
            model_name='job',
            constraint=compliance.tenancy.schema.Trigger(as_owner=True, body=compliance.tenancy.schema.SQL("""
                BEGIN
                    -- Without the context the organization's work can no longer see the agent: it would wait for ever.
                    UPDATE compliance_jobs
                    SET state = 'cancelled', finished_at = now(), lease_token = NULL, lease_expires_at = NULL
                    WHERE organization_id = OLD.organization_id AND agent_url = OLD.agent_url AND state IN ('queued', 'leased');
                    RETURN NULL;
                END;
            """), event='AFTER DELETE', for_each='ROW', name='cancel_jobs_without_agent', table='agent_contexts'),
        ),
        migrations.AddConstraint(
            model_name='job',
            constraint=compliance.tenancy.schema.Trigger(as_owner=True, body=compliance.tenancy.schema.SQL("""
                BEGIN
                    PERFORM nextval('leases_run_out');
                    RETURN NULL;
                END;
            """), condition="OLD.state = 'leased' AND NEW.lease_token IS DISTINCT FROM OLD.lease_token AND OLD.lease_expires_at < statement_timestamp()", event='AFTER UPDATE OF lease_token', for_each='ROW', name='count_lease_run_out'),
        ),
        migrations.AddConstraint(
            model_name='rejectedreport',
            constraint=compliance.tenancy.schema.Trigger(body=compliance.tenancy.schema.SQL("""
                BEGIN
                    IF EXISTS (SELECT 1 FROM compliance_jobs r WHERE r.id = OLD.job_id) THEN
                        RAISE EXCEPTION 'rejected_reports is insert-only: DELETE refused'
                            USING ERRCODE = 'insufficient_privilege';
                    END IF;
                    RETURN OLD;
                END;
            """), event='BEFORE DELETE', for_each='ROW', name='guard_rejected_report'),
        ),
        migrations.AddConstraint(
            model_name='job',
            constraint=compliance.tenancy.schema.Trigger(condition="NEW.executor_kind = 'private'", event='BEFORE INSERT', for_each='ROW', function='guard_pin', name='job_guard_pin'),
        ),
        migrations.AddConstraint(
            model_name='monitor',
            constraint=compliance.tenancy.schema.Trigger(condition="NEW.executor_kind = 'private'", event='BEFORE INSERT OR UPDATE OF runner_id, pool', for_each='ROW', function='guard_pin', name='monitor_guard_pin'),
        ),
        migrations.AddConstraint(
            model_name='monitor',
            constraint=compliance.tenancy.schema.Trigger(body=compliance.tenancy.schema.SQL("""
                BEGIN
                    IF NEW.state = 'deleted' AND EXISTS (
                        SELECT 1 FROM monitors m WHERE m.runner_id = OLD.id AND m.state <> 'archived') THEN
                        RAISE EXCEPTION 'monitors are pinned to this runner' USING ERRCODE = 'foreign_key_violation';
                    END IF;
                    IF OLD.pool <> '' AND (NEW.state = 'deleted' OR NEW.pool <> OLD.pool)
                        AND NOT EXISTS (SELECT 1 FROM runners r
                            WHERE r.organization_id = OLD.organization_id AND r.pool = OLD.pool AND r.id <> OLD.id
                                AND r.state <> 'deleted')
                        AND EXISTS (SELECT 1 FROM monitors m
                            WHERE m.organization_id = OLD.organization_id AND m.pool = OLD.pool AND m.state <> 'archived') THEN
                        RAISE EXCEPTION 'monitors are pinned to the pool of which this is the last runner'
                            USING ERRCODE = 'foreign_key_violation';
                    END IF;
                    RETURN NEW;
                END;
            """), event='BEFORE UPDATE OF state, pool', for_each='ROW', name='guard_runner_of_monitors', table='runners'),
        ),
        migrations.AddConstraint(
            model_name='tickphase',
            constraint=compliance.tenancy.schema.Trigger(body=compliance.tenancy.schema.SQL("""
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
                END;
            """), event='BEFORE INSERT OR UPDATE', for_each='ROW', name='guard_phase'),
        ),
    ]
