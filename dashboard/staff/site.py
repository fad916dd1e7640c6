"""The staff site."""

from django.contrib.admin import AdminSite


class StaffSite(AdminSite):
    site_header = "Assay staff"
    site_title = "Assay staff"
