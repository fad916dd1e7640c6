"""Indexes of requests that others make superfluous.

Each row is written four times in its life, and each time into all indexes. One of these misled the planner, too: while
the statistics knew no requests of the platform, it looked for an agent's by reading all of them.
"""

from django.db import migrations, models
import django.db.models.deletion

# Each column of characters has a second index, for patterns.
SUPERFLUOUS = """
DROP INDEX compliance_jobs_agent_url_33032643, compliance_jobs_agent_url_33032643_like,
    compliance_jobs_organization_id_f6224ad2, compliance_jobs_organization_id_f6224ad2_like,
    compliance_jobs_suite_version_id_77ea16d3;
"""


class Migration(migrations.Migration):

    dependencies = [
        ('compliance', '0015_bounds'),
    ]

    operations = [
        # Changed as fields, they would have their foreign keys made anew, and those are checked by the owner, to whom
        # the policies show none of the rows that are referred to.
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.AlterField(
                    model_name='job',
                    name='agent',
                    field=models.ForeignKey(db_column='agent_url', db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='compliance.agent'),
                ),
                migrations.AlterField(
                    model_name='job',
                    name='organization',
                    field=models.ForeignKey(blank=True, db_index=False, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='jobs', to='compliance.organization'),
                ),
                migrations.AlterField(
                    model_name='job',
                    name='suite_version',
                    field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='compliance.suiteversion'),
                ),
            ],
            database_operations=[migrations.RunSQL(SUPERFLUOUS)],
        ),
        migrations.AddIndex(
            model_name='job',
            index=models.Index(fields=['agent'], name='jobs_of_url'),
        ),
    ]
