"""The addresses of the dashboard. Everything of an organization lies under /o/<organization>/."""

from __future__ import annotations

from django.urls import include, path

from dashboard.agents import overview, testing
from dashboard.agents import settings as agent_settings
from dashboard.agents import views as agents
from dashboard.alerts import views as notices
from dashboard.credentials import access_log as credential_access
from dashboard.credentials import views as credentials
from dashboard.docs import views as guides
from dashboard.jobs import views as jobs
from dashboard.monitors import decisions as monitor_decisions
from dashboard.monitors import views as monitors
from dashboard.organizations import api_keys, home, invitations
from dashboard.organizations import views as people
from dashboard.runners import views as runners
from dashboard.runs import history
from dashboard.runs import views as runs
from dashboard.suites import views as suites

of_organization = [
    path("", overview.overview, name="overview"),
    path("agents/add/", agents.agent_add, name="agent_add"),
    path("agents/<uuid:agent>/", agents.agent, name="agent"),
    path("agents/<uuid:agent>/protocol/", agents.agent_protocol, name="agent_protocol"),
    path("agents/<uuid:agent>/test/", testing.agent_test, name="agent_test"),
    path("agents/<uuid:agent>/history/", history.history, name="history"),
    path("agents/<uuid:agent>/settings/", agent_settings.agent_settings, name="agent_settings"),
    path("agents/<uuid:agent>/remove/", agent_settings.agent_remove, name="agent_remove"),
    path("jobs/<uuid:job>/", jobs.job_detail, name="job"),
    path("jobs/<uuid:job>/cancel/", jobs.job_cancel, name="job_cancel"),
    path("runs/<uuid:run>/", runs.run, name="run"),
    path("runs/<uuid:run>/steps/<int:step>/", runs.evidence, name="evidence"),
    path("runs/<uuid:run>/compare/", runs.compare_pick, name="compare_pick"),
    path("runs/<uuid:run>/compare/<uuid:other>/", runs.compare, name="compare"),
    path("monitors/", monitors.monitors, name="monitors"),
    path("monitors/add/", monitors.monitor_add, name="monitor_add"),
    path("monitors/decisions/", monitor_decisions.decisions, name="monitor_decisions"),
    path("monitors/<uuid:monitor>/", monitors.monitor, name="monitor"),
    path("monitors/<uuid:monitor>/edit/", monitors.monitor_edit, name="monitor_edit"),
    path("monitors/<uuid:monitor>/run/", monitors.monitor_run, name="monitor_run"),
    path("monitors/<uuid:monitor>/pause/", monitors.monitor_pause, name="monitor_pause"),
    path("monitors/<uuid:monitor>/resume/", monitors.monitor_resume, name="monitor_resume"),
    path("monitors/<uuid:monitor>/archive/", monitors.monitor_archive, name="monitor_archive"),
    path("runners/", runners.runners, name="runners"),
    path("runners/add/", runners.runner_add, name="runner_add"),
    path("runners/<uuid:runner>/", runners.runner, name="runner"),
    path("runners/<uuid:runner>/settings/", runners.runner_settings, name="runner_settings"),
    path("runners/<uuid:runner>/token/", runners.runner_token, name="runner_token"),
    path("runners/<uuid:runner>/disable/", runners.runner_disable, name="runner_disable"),
    path("runners/<uuid:runner>/enable/", runners.runner_enable, name="runner_enable"),
    path("runners/<uuid:runner>/delete/", runners.runner_delete, name="runner_delete"),
    path("notices/", notices.notices, name="notices"),
    path("notices/read/", notices.notices_read, name="notices_read"),
    path("notices/<uuid:notice>/read/", notices.notice_read, name="notice_read"),
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
    path("settings/keys/", api_keys.api_keys, name="api_keys"),
    path("settings/keys/add/", api_keys.api_key_add, name="api_key_add"),
    path("settings/keys/<uuid:key>/revoke/", api_keys.api_key_revoke, name="api_key_revoke"),
    path("settings/delete/", people.organization_delete, name="organization_delete"),
]

urlpatterns = [
    path("", home.home, name="home"),
    path("o/new/", people.organization_create, name="organization_create"),
    path("suites/", suites.suites, name="suites"),
    path("suites/<slug:slug>/", suites.suite, name="suite"),
    path("suites/<slug:slug>/<str:version>/", suites.suite_version, name="suite_version"),
    path("docs/", guides.guide_index, name="guides"),
    path("docs/<slug:name>/", guides.guide_page, name="guide"),
    path("docs/<slug:name>.md", guides.guide_text, name="guide_text"),
    path("schemas/report-1.json", suites.report_schema, name="report_schema"),
    path("invitations/<str:token>/", invitations.invitation_accept, name="invitation_accept"),
    path("o/<slug:org>/", include(of_organization)),
]
