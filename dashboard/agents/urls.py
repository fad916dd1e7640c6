"""Agents: under /o/<organization>/."""

from __future__ import annotations

from django.urls import path

from dashboard.agents import views

urlpatterns = [
    path("", views.overview, name="overview"),
    path("agents/add/", views.agent_add, name="agent_add"),
    path("agents/<id:agent>/", views.agent, name="agent"),
    path("agents/<id:agent>/protocol/", views.agent_protocol, name="agent_protocol"),
    path("agents/<id:agent>/test/", views.agent_test, name="agent_test"),
    path("agents/<id:agent>/settings/", views.agent_settings, name="agent_settings"),
    path("agents/<id:agent>/remove/", views.agent_remove, name="agent_remove"),
]
