"""The staff site replaces Django's default admin site."""

from django.contrib.admin.apps import AdminConfig


class StaffAdminConfig(AdminConfig):
    default_site = "dashboard.staff.site.StaffSite"
