"""The addresses of the dashboard. Everything of an organization lies under /o/<organization>/."""

from __future__ import annotations

from django.urls import include, path

from dashboard.organizations.urls import outside

of_organization = [
    path("", include("dashboard.agents.urls")),
    path("", include("dashboard.runs.urls")),
    path("jobs/", include("dashboard.jobs.urls")),
    path("monitors/", include("dashboard.monitors.urls")),
    path("runners/", include("dashboard.runners.urls")),
    path("notices/", include("dashboard.alerts.urls")),
    path("credentials/", include("dashboard.credentials.urls")),
    path("", include("dashboard.organizations.urls")),
]

urlpatterns = [
    path("", include(outside)),
    path("", include("dashboard.suites.urls")),
    path("docs/", include("dashboard.docs.urls")),
    path("o/<slug:org>/", include(of_organization)),
]
