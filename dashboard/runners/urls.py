"""Private runners: under /o/<organization>/runners/."""

from __future__ import annotations

from django.urls import path

from dashboard.runners import views

urlpatterns = [
    path("", views.runners, name="runners"),
    path("add/", views.runner_add, name="runner_add"),
    path("<id:runner>/", views.runner, name="runner"),
    path("<id:runner>/settings/", views.runner_settings, name="runner_settings"),
    path("<id:runner>/token/", views.runner_token, name="runner_token"),
    path("<id:runner>/disable/", views.runner_disable, name="runner_disable"),
    path("<id:runner>/enable/", views.runner_enable, name="runner_enable"),
    path("<id:runner>/delete/", views.runner_delete, name="runner_delete"),
]
