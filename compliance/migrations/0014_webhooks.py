"""Deliveries of registries and deploy systems, which belong to no organization."""

import compliance.tenancy.ids
import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models


PLATFORM = "coalesce((select current_setting('app.platform', true)), '') = 'on'"

# Rights are given anew, because default privileges gave both serving roles everything.
RIGHTS = f"""
REVOKE ALL ON webhook_deliveries FROM assay_app, assay_staff;
GRANT SELECT, INSERT ON webhook_deliveries TO assay_app;
GRANT SELECT ON webhook_deliveries TO assay_staff;
ALTER TABLE webhook_deliveries ENABLE ROW LEVEL SECURITY;
ALTER TABLE webhook_deliveries FORCE ROW LEVEL SECURITY;
CREATE POLICY platform_own ON webhook_deliveries TO assay_app USING ({PLATFORM}) WITH CHECK ({PLATFORM});
CREATE POLICY staff_looks ON webhook_deliveries FOR SELECT TO assay_staff USING (true);
"""

# Insert-only for everybody but this function, and even it sees only what is old.
FORGETTING = """
CREATE POLICY forgetting ON webhook_deliveries TO assay_owner
    USING (received_at < now() - interval '7 days') WITH CHECK (false);
CREATE TRIGGER insert_only BEFORE UPDATE OR TRUNCATE ON webhook_deliveries
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER insert_only_until_old BEFORE DELETE ON webhook_deliveries FOR EACH STATEMENT
    WHEN (current_setting('app.forgetting', true) IS DISTINCT FROM 'on') EXECUTE FUNCTION refuse_change();

CREATE FUNCTION forget_webhook_deliveries(keep_days integer, at_most integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    forgotten integer;
BEGIN
    IF (keep_days BETWEEN 7 AND 3650) IS NOT TRUE THEN
        RAISE EXCEPTION 'keep_days must be 7 to 3650, not %', keep_days;
    END IF;
    IF (at_most BETWEEN 1 AND 10000) IS NOT TRUE THEN
        RAISE EXCEPTION 'at_most must be 1 to 10000, not %', at_most;
    END IF;
    PERFORM set_config('app.forgetting', 'on', true);
    DELETE FROM webhook_deliveries d WHERE d.id IN (
        SELECT o.id FROM webhook_deliveries o WHERE o.received_at < now() - make_interval(days => keep_days)
        ORDER BY o.received_at, o.id LIMIT at_most);
    GET DIAGNOSTICS forgotten = ROW_COUNT;
    PERFORM set_config('app.forgetting', '', true);
    RETURN forgotten;
END $$;
REVOKE ALL ON FUNCTION forget_webhook_deliveries(integer, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION forget_webhook_deliveries(integer, integer) TO assay_app;
"""


def sql(text: str) -> migrations.RunSQL:
    return migrations.RunSQL(text)


class Migration(migrations.Migration):

    dependencies = [
        ('compliance', '0013_tick'),
    ]

    operations = [
        migrations.CreateModel(
            name='WebhookDelivery',
            fields=[
                ('id', models.UUIDField(default=compliance.tenancy.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('source', models.CharField(max_length=60)),
                ('delivery_id', models.CharField(help_text='As its source calls it: the webhook-id.', max_length=200)),
                ('received_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False, help_text="By the database's clock.")),
                ('kind', models.CharField(help_text='The type of the event.', max_length=100)),
                ('agent_url', models.TextField(blank=True, verbose_name='agent')),
                ('outcome', models.CharField(choices=[('requested', 'A test was requested'), ('under_way', 'A test was under way'), ('cooldown', 'Too soon after the last one'), ('unknown_agent', 'Nobody has the agent'), ('opted_out', 'The agent is opted out'), ('paused', 'The agent is paused'), ('not_visited', 'The agent is in development or retired'), ('ignored', 'Not a kind of event that is acted on')], max_length=20)),
                ('job', models.ForeignKey(blank=True, db_index=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='compliance.job')),
            ],
            options={
                'verbose_name': 'webhook delivery',
                'verbose_name_plural': 'webhook deliveries',
                'db_table': 'webhook_deliveries',
                'indexes': [models.Index(fields=['-received_at', '-id'], name='deliveries_newest'), models.Index(fields=['agent_url', '-received_at', '-id'], name='deliveries_of_agent')],
                'constraints': [models.UniqueConstraint(fields=('delivery_id', 'source'), name='one_answer_per_delivery'), models.CheckConstraint(condition=models.Q(('outcome__in', ['requested', 'under_way', 'cooldown', 'unknown_agent', 'opted_out', 'paused', 'not_visited', 'ignored'])), name='delivery_outcome_known'), models.CheckConstraint(condition=models.Q(models.Q(('job__isnull', False), ('outcome__in', ['requested', 'under_way'])), models.Q(models.Q(('outcome__in', ['requested', 'under_way']), _negated=True), ('job__isnull', True)), _connector='OR'), name='delivery_job_iff_tested'), models.CheckConstraint(condition=models.Q(('agent_url__length__lte', 2048)), name='delivery_url_length')],
            },
        ),
        sql(RIGHTS),
        sql(FORGETTING),
    ]
