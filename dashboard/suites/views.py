"""The suites: what is published, what it needs, whether it can be run now, and every check in it."""

from __future__ import annotations

from functools import cache
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_safe

from compliance.engines.reports.validation import SCHEMA_FILE
from compliance.models import Suite, SuiteVersion
from compliance.suites.catalogue import OfferedSuite, facts_of, offered_suites
from compliance.suites.health import read_availability
from dashboard.common.access import reader_view
from dashboard.suites.forms import by_family
from dashboard.suites.tables import SuiteTable

LONG = 40  # so many scenarios are more than one looks through: the page folds its tracks


@require_safe
@reader_view()
def suites(request: HttpRequest) -> HttpResponseBase:
    """The whole suites, by family those whose runs change no status, and what is no longer offered. ?q= searches."""
    search = request.GET.get("q", "").strip()
    offered = offered_suites()
    found = [suite for suite in offered if _is_about(suite, search.lower().split())]
    page = {
        "found": len(found),
        "suites": SuiteTable([suite for suite in found if suite.facts.full]),
        "families": by_family([suite for suite in found if not suite.facts.full]),
        "search": search,
        "any": bool(offered),
        "gone": Suite.objects.filter(current_version__isnull=True).order_by("title", "slug"),
    }
    return TemplateResponse(request, "suites/list.html", page)


def _is_about(suite: OfferedSuite, words: list[str]) -> bool:
    needed = [f"{kind} {what}" for kind, what in suite.facts.requires]
    text = " ".join([suite.slug, suite.title, suite.description, suite.engine, *suite.facts.protocols, *needed]).lower()
    return all(word in text for word in words)


@require_safe
@reader_view()
def suite(request: HttpRequest, slug: str) -> HttpResponseBase:
    """To the suite's current version, or to its last."""
    found = get_object_or_404(Suite.objects.select_related("current_version"), slug=slug)
    version = found.current_version or found.versions.order_by("-published_at", "-id").first()
    if version is None:
        raise Http404
    return redirect("suite_version", slug, version.version)


@require_safe
@reader_view()
def suite_version(request: HttpRequest, slug: str, version: str) -> HttpResponseBase:
    """One published version with its tracks, scenarios and steps. It never changes."""
    found = get_object_or_404(SuiteVersion.objects.select_related("suite"), suite__slug=slug, version=version)
    others = found.suite.versions.exclude(pk=found.pk).order_by("-published_at", "-id")
    facts = facts_of([found.pk])[found.pk]
    page = {
        "version": found,
        "suite": found.suite,
        "facts": facts,
        "tracks": [_shown(track) for track in found.definition.get("tracks", [])],
        "is_current": found.suite.current_version_id == found.pk,
        "is_long": facts.scenario_count > LONG,
        "problem": read_availability().problem(found.engine),
        "others": others.values_list("version", "published_at"),
    }
    return TemplateResponse(request, "suites/detail.html", page)


def _shown(track: dict[str, Any]) -> dict[str, Any]:
    # Written by an engine, perhaps of another package: an address of another kind would be a script in the page.
    scenarios = [
        {
            **scenario,
            "steps": [
                {
                    **step,
                    "spec_url": url if (url := step.get("spec_url") or "").startswith(("https://", "http://")) else "",
                }
                for step in scenario.get("steps", [])
            ],
        }
        for scenario in track.get("scenarios", [])
    ]
    return {**track, "scenarios": scenarios}


@cache
def _schema() -> bytes:
    return SCHEMA_FILE.read_bytes()


@require_safe
@cache_control(public=True, max_age=86400)
def report_schema(request: HttpRequest) -> HttpResponse:
    """The JSON Schema of a report, for everybody and for programs on other sites."""
    response = HttpResponse(_schema(), content_type="application/schema+json")
    response["Access-Control-Allow-Origin"] = "*"
    return response
