"""What ran and with whose secret, beside each run; the failing place, beside each exchange."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('compliance', '0003_second_locks'),
    ]

    operations = [
        migrations.AddField(
            model_name='compliancerun',
            name='credential_id',
            field=models.UUIDField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='compliancerun',
            name='credential_name',
            field=models.CharField(blank=True, db_default='', default='', max_length=100),
        ),
        migrations.AddField(
            model_name='compliancerun',
            name='runtime',
            field=models.JSONField(blank=True, db_default=models.Value({}, models.JSONField()), default=dict),
        ),
        migrations.AddField(
            model_name='compliancerun',
            name='spec_version',
            field=models.CharField(blank=True, db_default='', default='', help_text='Of the specification that the checks were written against.', max_length=60),
        ),
        migrations.AddField(
            model_name='stepevidence',
            name='pointer',
            field=models.TextField(blank=True, default='', help_text='The failing place, a JSON pointer (RFC 6901).'),
        ),
    ]
