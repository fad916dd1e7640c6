"""Suites: the same for every organization."""

from __future__ import annotations

from django.urls import path

from dashboard.suites import views

urlpatterns = [
    path("suites/", views.suites, name="suites"),
    path("suites/<slug:slug>/", views.suite, name="suite"),
    path("suites/<slug:slug>/<str:version>/", views.suite_version, name="suite_version"),
    path("schemas/report-1.json", views.report_schema, name="report_schema"),
]
