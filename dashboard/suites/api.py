"""Suites: what agents can be tested against, and what each lets one choose."""

from __future__ import annotations

from typing import Any

from django.http import Http404
from ninja import Query, Router, Schema
from pydantic import Field

from compliance.models import SuiteVersion
from compliance.suites.catalogue import OfferedSuite, offered_suites
from compliance.tenancy.models import Scope
from dashboard.api.access import ApiRequest, operation
from dashboard.api.paging import MAX_PAGE_SIZE, Page, PageQuery, bad_cursor, page_answer, read_text, text_cursor
from dashboard.api.responses import Answer

router = Router(tags=["Suites"])


class OptionOut(Schema):
    """A choice that a suite offers; a value must be of its default's kind."""

    key: str
    title: str
    description: str
    default: Any


class SuiteOut(Schema):
    """A published suite."""

    slug: str = Field(examples=["baseline"])
    title: str = Field(examples=["Baseline"])
    description: str
    version: str = Field(description="The current one, which tests are asked of.", examples=["1.0"])
    engine: str
    protocols: list[str] = Field(description="Of which protocols agents can be tested; empty: of all.")
    options: list[OptionOut]
    scenario_count: int
    problem: str = Field(description="Why it cannot be run now; empty when it can.")


class ScenarioRef(Schema):
    key: str = Field(examples=["protocol/handshake"])
    title: str
    track: str = Field(description="The title of its track.")
    protocol: str = Field(description="For which protocol alone; empty: for each.")


class SuiteWithScenarios(SuiteOut):
    """A published suite with its scenarios."""

    scenarios: list[ScenarioRef]


class SuiteQuery(PageQuery):
    # Suites are few, and programs that knew the list before it had pages took it for whole.
    limit: int = Field(MAX_PAGE_SIZE, ge=1, le=MAX_PAGE_SIZE, description="How many at most.")


class SuitePage(Page):
    items: list[SuiteOut]


def _fields(suite: OfferedSuite) -> dict[str, Any]:
    return {
        "slug": suite.slug,
        "title": suite.title,
        "description": suite.description,
        "version": suite.version,
        "engine": suite.engine,
        "protocols": list(suite.facts.protocols),
        "options": [
            OptionOut(key=option.key, title=option.title, description=option.description, default=option.default)
            for option in suite.facts.options
        ],
        "scenario_count": suite.facts.scenario_count,
        "problem": suite.problem,
    }


@operation(
    router,
    "GET",
    "/suites",
    scope=Scope.READ,
    operation_id="listSuites",
    summary="The suites that agents can be tested against",
    response=SuitePage,
)
def list_suites(request: ApiRequest, asked: Query[SuiteQuery]) -> Answer:
    """By engine and title."""
    suites = offered_suites()
    begin = _after(suites, asked.cursor) if asked.cursor else 0
    shown = suites[begin : begin + asked.limit]
    following = text_cursor(shown[-1].slug) if begin + asked.limit < len(suites) else None
    items = [SuiteOut(**_fields(suite)) for suite in shown]
    return page_answer(request, SuitePage(items=items, next=following))


def _after(suites: list[OfferedSuite], cursor: str) -> int:
    """Where the list goes on. A suite that is no longer offered is no place any more."""
    last = read_text(cursor)
    places = (place for place, suite in enumerate(suites, start=1) if suite.slug == last)
    found = next(places, None)
    if found is None:
        raise bad_cursor()
    return found


@operation(
    router,
    "GET",
    "/suites/{slug:slug}",
    scope=Scope.READ,
    operation_id="getSuite",
    summary="One suite, with its scenarios",
    response=SuiteWithScenarios,
    problems=(404,),
)
def one_suite(request: ApiRequest, slug: str) -> Answer:
    suite = next((suite for suite in offered_suites() if suite.slug == slug), None)
    if suite is None:
        raise Http404
    tracks = SuiteVersion.objects.values_list("definition__tracks", flat=True).get(pk=suite.version_id)
    scenarios = [
        ScenarioRef(
            key=scenario["key"],
            title=scenario["title"],
            track=track["title"],
            protocol=scenario.get("protocol", ""),
        )
        for track in tracks or []
        for scenario in track["scenarios"]
    ]
    return Answer(SuiteWithScenarios(**_fields(suite), scenarios=scenarios), cacheable=True)
