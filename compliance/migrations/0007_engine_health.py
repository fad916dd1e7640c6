"""Which engines each worker has. No organization's data: every role may read it, and the app role writes it."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('compliance', '0006_names'),
    ]

    operations = [
        migrations.CreateModel(
            name='EngineHealth',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('worker', models.CharField(help_text="The worker's node name.", max_length=200)),
                ('engine', models.CharField(max_length=60)),
                ('version', models.CharField(blank=True, max_length=60)),
                ('available', models.BooleanField()),
                ('reason', models.TextField(blank=True, help_text='What is missing, and how to get it.')),
                ('runtime', models.JSONField(blank=True, default=dict)),
                ('memory_mb', models.PositiveIntegerField(default=0, help_text='What one run may take beside the worker, in MiB.')),
                ('checked_at', models.DateTimeField()),
            ],
            options={
                'verbose_name': 'engine of a worker',
                'verbose_name_plural': 'engines of workers',
                'db_table': 'engine_health',
                'constraints': [models.UniqueConstraint(fields=('worker', 'engine'), name='one_health_of_engine_and_worker')],
            },
        ),
    ]
