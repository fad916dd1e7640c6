"""The showing half of Assay, as Django sees it."""

from django.apps import AppConfig
from django.urls import register_converter

from dashboard.common.converters import IdConverter


class DashboardConfig(AppConfig):
    name = "dashboard"

    def ready(self) -> None:
        register_converter(IdConverter, "id")  # before any addresses are read
