"""Monitors: under /o/<organization>/monitors/."""

from __future__ import annotations

from django.urls import path

from dashboard.monitors import views

urlpatterns = [
    path("", views.monitors, name="monitors"),
    path("add/", views.monitor_add, name="monitor_add"),
    path("decisions/", views.decisions, name="monitor_decisions"),
    path("<uuid:monitor>/", views.monitor, name="monitor"),
    path("<uuid:monitor>/edit/", views.monitor_edit, name="monitor_edit"),
    path("<uuid:monitor>/run/", views.monitor_run, name="monitor_run"),
    path("<uuid:monitor>/pause/", views.monitor_pause, name="monitor_pause"),
    path("<uuid:monitor>/resume/", views.monitor_resume, name="monitor_resume"),
    path("<uuid:monitor>/archive/", views.monitor_archive, name="monitor_archive"),
]
