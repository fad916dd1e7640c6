"""Indexes of requests that others make superfluous.

Each row is written four times in its life, and each time into all indexes. One of these misled the planner, too: while
the statistics knew no requests of the platform, it looked for an agent's by reading all of them.
"""

from django.db import migrations, models
import django.db.models.deletion


class Migration(migrations.Migration):

    dependencies = [
        ('compliance', '0015_bounds'),
    ]

    operations = [
        migrations.AlterField(
            model_name='compliancerequest',
            name='agent',
            field=models.ForeignKey(db_column='agent_url', db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='compliance.agent'),
        ),
        migrations.AlterField(
            model_name='compliancerequest',
            name='organization',
            field=models.ForeignKey(blank=True, db_index=False, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='requests', to='compliance.organization'),
        ),
        migrations.AlterField(
            model_name='compliancerequest',
            name='suite_version',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='compliance.suiteversion'),
        ),
        migrations.AddIndex(
            model_name='compliancerequest',
            index=models.Index(fields=['agent'], name='requests_of_url'),
        ),
    ]
