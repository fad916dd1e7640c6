"""Runs and their histories: under /o/<organization>/."""

from __future__ import annotations

from django.urls import path

from dashboard.runs import views

urlpatterns = [
    path("agents/<id:agent>/history/", views.history, name="history"),
    path("runs/<id:run>/", views.run, name="run"),
    path("runs/<id:run>/steps/<int:step>/", views.evidence, name="evidence"),
    path("runs/<id:run>/compare/", views.compare_pick, name="compare_pick"),
    path("runs/<id:run>/compare/<id:other>/", views.compare, name="compare"),
]
