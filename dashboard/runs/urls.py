"""Runs and their histories: under /o/<organization>/."""

from __future__ import annotations

from django.urls import path

from dashboard.runs import views

urlpatterns = [
    path("agents/<uuid:agent>/history/", views.history, name="history"),
    path("runs/<uuid:run>/", views.run, name="run"),
    path("runs/<uuid:run>/steps/<int:step>/", views.evidence, name="evidence"),
    path("runs/<uuid:run>/compare/", views.compare_pick, name="compare_pick"),
    path("runs/<uuid:run>/compare/<uuid:other>/", views.compare, name="compare"),
]
