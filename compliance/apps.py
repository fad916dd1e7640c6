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
        self._connect()

    @staticmethod
    def _connect() -> None:
        """Register what packages do when one below them, which does not know them, has something to tell."""
        from compliance.alerts.notices import record_notice
        from compliance.jobs.completion import on_completion
        from compliance.jobs.platform_tests import after_platform_test
        from compliance.monitors.actions import after_monitor_run, names_placed_on
        from compliance.monitors.heartbeats import after_heartbeat
        from compliance.runners.placement import runners_are_used_by
        from compliance.runs.models import TriggeredBy
        from compliance.tenancy.events import subscribe

        on_completion(TriggeredBy.HEARTBEAT, after_heartbeat)
        on_completion(TriggeredBy.MONITOR, after_monitor_run)
        on_completion(TriggeredBy.MANUAL, after_platform_test)
        runners_are_used_by(names_placed_on)
        subscribe(record_notice)
