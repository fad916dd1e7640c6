"""Asking for a test: with one press, or after choosing a suite and what it lets one decide."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.template.response import TemplateResponse

from compliance.jobs.actions import request_owner_test
from compliance.jobs.options import PlaceRefused
from compliance.models import SuiteVersion
from compliance.suites.catalogue import OfferedSuite
from compliance.vault.access_log import granted_credentials
from compliance.vault.models import UseFor
from dashboard.agents.views import get_agent
from dashboard.common.access import OrganizationRequest, organization_view
from dashboard.jobs.placement import kept_runners
from dashboard.suites.forms import SuiteForm, TestForm, default_among, suites_for


@organization_view()
def agent_test(request: OrganizationRequest, agent: UUID) -> HttpResponseBase:
    """Ask for a test; a GET shows what can be chosen. A second press leads to the test under way.

    `suite` names the suite, in a GET and in a POST; `executor` where it runs. Without `choices` a POST comes from a
    page that does not show the suite's options, and they stay as the suite has them.
    """
    context = get_agent(request.organization, agent)
    suites = suites_for(context.agent.protocol)
    posted = request.method == "POST"
    asked = request.POST if posted else request.GET
    wanted_suite = str(asked.get("suite") or "")
    found = next((suite for suite in suites if suite.slug == wanted_suite), None)
    suite = found if wanted_suite and posted else found or default_among(suites)
    choice = SuiteForm({"suite": wanted_suite} if wanted_suite else None, suites=suites)
    form = None
    runners = kept_runners(request.organization.id)
    if suite is not None:
        choice.initial["suite"] = suite.slug
        form = TestForm(
            request.POST if posted else None,
            runners=runners,
            engine=suite.engine,
            options=suite.facts.options,
            scenarios=scenarios_of(suite.version_id, context.agent.protocol),
            credentials=granted_credentials(
                organization_id=request.organization.id, context_id=agent, use=UseFor.OWNER_TESTS
            ),
        )
        if posted and "choices" not in request.POST:
            form.take_suites_options()
        if posted and form.is_valid():
            try:
                return _ask(request, agent, suite, form)
            except PlaceRefused as refusal:
                form.add_error("executor", str(refusal))
    can_run = suite is not None and (not suite.problem or bool(runners))
    page = {"context": context, "choice": choice, "suite": suite, "form": form, "suites": suites, "can_run": can_run}
    failed = posted or (wanted_suite and found is None)
    return TemplateResponse(request, "agent_test.html", page, status=422 if failed else 200)


def _ask(request: OrganizationRequest, agent: UUID, suite: OfferedSuite, form: TestForm) -> HttpResponseBase:
    wanted, created = request_owner_test(
        organization=request.organization,
        context_id=agent,
        by=request.user,
        suite_slug=suite.slug,
        scenarios=form.cleaned_data["scenarios"],
        # A box that is not there is not a box that was cleared.
        options=form.chosen_options() if "choices" in request.POST else {},
        all_evidence=form.cleaned_data["all_evidence"],
        dry_run=form.cleaned_data["dry_run"],
        credential=form.cleaned_data["credential"],
        pin=form.chosen_pin,
    )
    if not created:
        messages.info(request, "This test is under way already.")
    return redirect("job", request.organization.slug, wanted.pk)


def scenarios_of(version_id: int, protocol: str) -> list[tuple[str, str]]:
    """Keys and titles of the scenarios that an agent of this protocol can be asked."""
    tracks = SuiteVersion.objects.values_list("definition__tracks", flat=True).get(pk=version_id)
    return [
        (scenario["key"], f"{track['title']}: {scenario['title']}")
        for track in tracks or []
        for scenario in track["scenarios"]
        if not protocol or scenario.get("protocol", "") in ("", protocol)
    ]
