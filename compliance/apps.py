"""The deciding and recording half of Assay, as Django sees it."""

from django.apps import AppConfig


class ComplianceConfig(AppConfig):
    name = "compliance"
    verbose_name = "Compliance"

    def ready(self) -> None:
        from django.conf import settings

        from compliance.engines.process.paths import use_paths
        from compliance.vault import checks  # noqa: F401 - registers them

        use_paths(settings.ENGINE_PATHS)
