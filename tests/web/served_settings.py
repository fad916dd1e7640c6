"""Assay's settings for a server that has the addresses of served_urls.py, and a database with one table."""

from compliance.settings import *  # noqa: F403

STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}  # noqa: F405
ROOT_URLCONF = "tests.web.served_urls"
