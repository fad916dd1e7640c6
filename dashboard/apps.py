"""The showing half of Assay, as Django sees it."""

from django.apps import AppConfig


class DashboardConfig(AppConfig):
    name = "dashboard"
