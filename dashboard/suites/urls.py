"""Suites: the same for every organization."""

from __future__ import annotations

from django.urls import path, re_path

from dashboard.suites import views

urlpatterns = [
    path("suites/", views.suites, name="suites"),
    path("suites/<slug:slug>/", views.suite, name="suite"),
    # No NUL: PostgreSQL has none, and would refuse to be asked for it.
    re_path(r"^suites/(?P<slug>[-\w]+)/(?P<version>[^/\x00]+)/$", views.suite_version, name="suite_version"),
    path("schemas/report-1.json", views.report_schema, name="report_schema"),
]
