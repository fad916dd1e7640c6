"""The staff site replaces Django's default admin site."""

from importlib import import_module

from django.contrib.admin.apps import SimpleAdminConfig


class StaffAdminConfig(SimpleAdminConfig):
    """No autodiscovery: what other apps register by themselves (authenticators with their secrets) stays out."""

    default_site = "dashboard.staff.site.StaffSite"

    def ready(self) -> None:
        super().ready()
        import_module("dashboard.staff.registered")
