"""The addresses of the dashboard. Everything of an organization lies under /o/<organization>/."""

from __future__ import annotations

from django.urls import include, path

from dashboard.views import agents, home, invitations, overview, people

of_organization = [
    path("", overview.overview, name="overview"),
    path("agents/add/", agents.agent_add, name="agent_add"),
    path("members/", people.members, name="members"),
    path("members/invite/", people.member_invite, name="member_invite"),
    path("members/invitations/<uuid:invitation_id>/resend/", people.invitation_resend, name="invitation_resend"),
    path("members/invitations/<uuid:invitation_id>/revoke/", people.invitation_revoke, name="invitation_revoke"),
    path("members/<int:membership_id>/role/", people.member_role, name="member_role"),
    path("members/<int:membership_id>/remove/", people.member_remove, name="member_remove"),
    path("settings/", people.organization_settings, name="organization_settings"),
    path("settings/delete/", people.organization_delete, name="organization_delete"),
]

urlpatterns = [
    path("", home.home, name="home"),
    path("o/new/", people.organization_create, name="organization_create"),
    path("invitations/<str:token>/", invitations.invitation_accept, name="invitation_accept"),
    path("o/<slug:org>/", include(of_organization)),
]
