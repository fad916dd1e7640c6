"""Monitors: under /o/<organization>/monitors/."""

from __future__ import annotations

from django.urls import path

from dashboard.monitors import views

urlpatterns = [
    path("", views.monitors, name="monitors"),
    path("add/", views.monitor_add, name="monitor_add"),
    path("decisions/", views.decisions, name="monitor_decisions"),
    path("<id:monitor>/", views.monitor, name="monitor"),
    path("<id:monitor>/edit/", views.monitor_edit, name="monitor_edit"),
    path("<id:monitor>/run/", views.monitor_run, name="monitor_run"),
    path("<id:monitor>/pause/", views.monitor_pause, name="monitor_pause"),
    path("<id:monitor>/resume/", views.monitor_resume, name="monitor_resume"),
    path("<id:monitor>/archive/", views.monitor_archive, name="monitor_archive"),
]
