"""Private runners: under /o/<organization>/runners/."""

from __future__ import annotations

from django.urls import path

from dashboard.runners import views

urlpatterns = [
    path("", views.runners, name="runners"),
    path("add/", views.runner_add, name="runner_add"),
    path("<uuid:runner>/", views.runner, name="runner"),
    path("<uuid:runner>/settings/", views.runner_settings, name="runner_settings"),
    path("<uuid:runner>/token/", views.runner_token, name="runner_token"),
    path("<uuid:runner>/disable/", views.runner_disable, name="runner_disable"),
    path("<uuid:runner>/enable/", views.runner_enable, name="runner_enable"),
    path("<uuid:runner>/delete/", views.runner_delete, name="runner_delete"),
]
