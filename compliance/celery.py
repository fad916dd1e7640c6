"""The Celery application: messages that there is work, and ticks. The queue itself is rows in PostgreSQL."""

import os
from typing import Any

from celery import Celery
from celery.signals import beat_init, worker_init
from django.conf import settings

from compliance import broker

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "compliance.settings")

broker.use()
app = Celery("assay")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(
    [f"compliance.{name}" for name in ("registry", "suites", "runs", "jobs", "monitors", "webhooks")]
)


@worker_init.connect
@beat_init.connect
def mend_broker(**_: Any) -> None:
    """Take out of the way what would end this process before it has begun."""
    broker.mend(settings.REDIS_URL, str(settings.CELERY_BROKER_TRANSPORT_OPTIONS["global_keyprefix"]))


@worker_init.connect
@beat_init.connect
def hide(**_: Any) -> None:
    """Keep the keys in the environment from the programs that engines start beside this process."""
    from compliance.engines.process.runner import (
        hide_from_programs,  # not needed by web processes, which import this module
    )

    hide_from_programs()
