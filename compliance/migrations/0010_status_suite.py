"""Public status is measured by one suite: runs of others stand beside it.

The generated column is made anew, as its expression cannot be changed in place on PostgreSQL 15 and 16. Runs that
are there already count as they did.
"""

from django.db import migrations, models

_CONCLUSIVE = models.Q(overall_status__in=["passing", "partial", "failing"])
_PLATFORM = models.Q(triggered_by__in=["heartbeat", "manual", "webhook"])
_OWNER = models.Q(triggered_by="owner_test", by_verified_owner=True)
INDEX = models.Index(
    models.F("agent_url"),
    models.F("overall_status"),
    models.F("tested_at").desc(),
    models.F("id").desc(),
    name="runs_moving_status",
    condition=models.Q(moves_status=True),
)


class Migration(migrations.Migration):
    dependencies = [("compliance", "0009_monitors")]

    operations = [
        migrations.AddField(
            "compliancerun",
            "beside_status",
            models.BooleanField(
                db_default=False,
                default=False,
                help_text="True for a run of another suite than the one that public status is measured by: it moves no status.",
            ),
        ),
        migrations.RemoveIndex("compliancerun", "runs_moving_status"),
        migrations.RemoveField("compliancerun", "moves_status"),
        migrations.AddField(
            "compliancerun",
            "moves_status",
            models.GeneratedField(
                db_persist=True,
                expression=models.Case(
                    models.When(
                        models.Q(dry_run=False)
                        & models.Q(full_suite=True)
                        & models.Q(beside_status=False)
                        & models.Q(executor_kind="hosted")
                        & _CONCLUSIVE
                        & (_PLATFORM | _OWNER),
                        then=models.Value(True),
                    ),
                    default=models.Value(False),
                ),
                output_field=models.BooleanField(),
            ),
        ),
        migrations.AddIndex("compliancerun", INDEX),
    ]
