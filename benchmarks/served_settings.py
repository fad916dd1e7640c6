"""Assay's settings, with one address more: a view that does nothing, behind the same middleware."""

from compliance.settings import *  # noqa: F403

ROOT_URLCONF = "benchmarks.served_urls"
