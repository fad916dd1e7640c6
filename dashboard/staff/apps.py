"""The staff site replaces Django's default admin site."""

from importlib import import_module

from django.contrib.admin.apps import SimpleAdminConfig

ADMINS = ("engines", "jobs", "monitors", "registry", "runners", "runs", "suites", "tenancy", "users", "webhooks")


class StaffAdminConfig(SimpleAdminConfig):
    """No autodiscovery: it would add the admins of other apps, such as that of authenticators with their secrets."""

    default_site = "dashboard.staff.site.StaffSite"

    def ready(self) -> None:
        super().ready()
        for name in ADMINS:
            import_module(f"dashboard.staff.{name}")
