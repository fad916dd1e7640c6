"""What one private runner made, by an index of its own."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('compliance', '0016_fewer_indexes'),
    ]

    operations = [
        migrations.AddIndex(
            model_name='compliancerun',
            index=models.Index(models.F('triggered_org_id'), models.F('executor_id'), models.OrderBy(models.F('tested_at'), descending=True), models.OrderBy(models.F('id'), descending=True), condition=models.Q(('executor_id__isnull', False)), name='runs_of_runner'),
        ),
    ]
