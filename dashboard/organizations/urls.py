"""Members, settings and API keys: under /o/<organization>/. `outside` lies outside any organization."""

from __future__ import annotations

from django.urls import path

from dashboard.organizations import api_keys, home, invitations, views

urlpatterns = [
    path("members/", views.members, name="members"),
    path("members/invite/", views.member_invite, name="member_invite"),
    path("members/invitations/<id:invitation_id>/resend/", views.invitation_resend, name="invitation_resend"),
    path("members/invitations/<id:invitation_id>/revoke/", views.invitation_revoke, name="invitation_revoke"),
    path("members/<int:membership_id>/role/", views.member_role, name="member_role"),
    path("members/<int:membership_id>/remove/", views.member_remove, name="member_remove"),
    path("settings/", views.organization_settings, name="organization_settings"),
    path("settings/keys/", api_keys.api_keys, name="api_keys"),
    path("settings/keys/add/", api_keys.api_key_add, name="api_key_add"),
    path("settings/keys/<id:key>/revoke/", api_keys.api_key_revoke, name="api_key_revoke"),
    path("settings/delete/", views.organization_delete, name="organization_delete"),
]

outside = [
    path("", home.home, name="home"),
    path("o/new/", views.organization_create, name="organization_create"),
    path("invitations/<str:token>/", invitations.invitation_accept, name="invitation_accept"),
]
