"""Bounds on what private runners may do without end."""

from django.db import migrations, models


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
    ]
