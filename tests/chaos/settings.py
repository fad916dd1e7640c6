"""Assay's settings for a chaos run: everything that waits for minutes waits for seconds, so that a minute shows much.

What the environment can say, tests/chaos/stage.py says there; this is the rest.
"""

from datetime import timedelta

from compliance.settings import *  # noqa: F403

STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}  # noqa: F405
WHITENOISE_AUTOREFRESH = True

# A tick that nobody took in time is worthless: the next one has come. Two beats send each of these.
CELERY_BEAT_SCHEDULE = {
    **CELERY_BEAT_SCHEDULE,  # noqa: F405
    "tick": {
        "task": "compliance.monitors.tasks.tick",
        "schedule": timedelta(seconds=1),
        "options": {"expires": 10},
    },
    "clean-up-jobs": {
        "task": "compliance.jobs.tasks.clean_up",
        "schedule": timedelta(seconds=2),
        "options": {"expires": 10},
    },
}
JOB_EXPIRES_SECONDS = 45
PRIVATE_JOB_EXPIRES_SECONDS = 20
RUNNER_SEEN_EVERY_SECONDS = 1
RUNNER_POLL_AFTER_SECONDS = 2
