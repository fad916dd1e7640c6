"""The addresses of the dashboard. Everything of an organization lies under /o/<organization>/."""

from __future__ import annotations

from django.urls import include, path

from dashboard.views import (
    agent_settings,
    agents,
    credential_access,
    credentials,
    history,
    home,
    invitations,
    overview,
    people,
    requests,
    runs,
    suites,
    testing,
)

of_organization = [
    path("", overview.overview, name="overview"),
    path("agents/add/", agents.agent_add, name="agent_add"),
    path("agents/<uuid:agent>/", agents.agent, name="agent"),
    path("agents/<uuid:agent>/protocol/", agents.agent_protocol, name="agent_protocol"),
    path("agents/<uuid:agent>/test/", testing.agent_test, name="agent_test"),
    path("agents/<uuid:agent>/history/", history.history, name="history"),
    path("agents/<uuid:agent>/settings/", agent_settings.agent_settings, name="agent_settings"),
    path("agents/<uuid:agent>/remove/", agent_settings.agent_remove, name="agent_remove"),
    path("requests/<uuid:wanted>/", requests.request_progress, name="request"),
    path("runs/<uuid:run>/", runs.run, name="run"),
    path("runs/<uuid:run>/steps/<int:step>/", runs.evidence, name="evidence"),
    path("runs/<uuid:run>/compare/", runs.compare_pick, name="compare_pick"),
    path("runs/<uuid:run>/compare/<uuid:other>/", runs.compare, name="compare"),
    path("credentials/", credentials.credentials, name="credentials"),
    path("credentials/add/", credentials.credential_add, name="credential_add"),
    path("credentials/access/", credential_access.access, name="credential_access"),
    path("credentials/access.csv", credential_access.access_csv, name="credential_access_csv"),
    path("credentials/<uuid:credential>/", credentials.credential, name="credential"),
    path("credentials/<uuid:credential>/replace/", credentials.credential_replace, name="credential_replace"),
    path("credentials/<uuid:credential>/delete/", credentials.credential_delete, name="credential_delete"),
    path("credentials/<uuid:credential>/grant/", credentials.grant_add, name="grant_add"),
    path("credentials/grants/<uuid:grant>/revoke/", credentials.grant_revoke, name="grant_revoke"),
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
    path("suites/", suites.suites, name="suites"),
    path("suites/<slug:slug>/", suites.suite, name="suite"),
    path("suites/<slug:slug>/<str:version>/", suites.suite_version, name="suite_version"),
    path("schemas/report-1.json", suites.report_schema, name="report_schema"),
    path("invitations/<str:token>/", invitations.invitation_accept, name="invitation_accept"),
    path("o/<slug:org>/", include(of_organization)),
]
