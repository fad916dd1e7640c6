"""The addresses of the dashboard. Everything of an organization lies under /o/<organization>/."""

from __future__ import annotations

from django.urls import include, path

from dashboard.views import home, overview, people

of_organization = [
    path("", overview.overview, name="overview"),
    path("members/", people.members, name="members"),
    path("settings/", people.organization_settings, name="organization_settings"),
]

urlpatterns = [
    path("", home.home, name="home"),
    path("o/new/", people.organization_create, name="organization_create"),
    path("invitations/<str:token>/", people.invitation_accept, name="invitation_accept"),
    path("o/<slug:org>/", include(of_organization)),
]
