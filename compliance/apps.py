"""The deciding and recording half of Assay, as Django sees it."""

from django.apps import AppConfig


class ComplianceConfig(AppConfig):
    name = "compliance"
    verbose_name = "Compliance"

    def ready(self) -> None:
        from compliance.vault import checks  # noqa: F401 - registers them
