"""Suites: what agents can be tested against, and the options of each."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpResponse
from ninja import Query, Router, Schema
from pydantic import AliasPath, Field

from compliance.models import SuiteVersion
from compliance.suites.catalogue import OfferedSuite, offered_suites
from compliance.tenancy.models import Scope
from dashboard.api.authentication import ApiRequest, BearerKey
from dashboard.api.paging import MAX_PAGE_SIZE, Page, PageQuery, bad_cursor, link_to_next
from dashboard.api.problems import ProblemDetails

router = Router(tags=["Suites"], auth=BearerKey(Scope.READ))


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
    version: str = Field(description="The current one, which tests run.", examples=["1.0"])
    engine: str
    protocols: list[str] = Field(
        validation_alias=AliasPath("facts", "protocols"),
        description="Of which protocols agents can be tested; empty: of all.",
    )
    options: list[OptionOut] = Field(validation_alias=AliasPath("facts", "options"))
    scenario_count: int = Field(validation_alias=AliasPath("facts", "scenario_count"))
    problem: str = Field(description="Why it cannot be run now; empty when it can.")


class ScenarioRef(Schema):
    key: str = Field(examples=["protocol/handshake"])
    title: str
    track: str = Field(description="The title of its track.")
    protocol: str = Field(description="For which protocol alone; empty: for each.")


class SuiteWithScenarios(SuiteOut):
    """A published suite with its scenarios."""

    scenarios: list[ScenarioRef]

    @staticmethod
    def resolve_scenarios(suite: OfferedSuite) -> list[dict[str, str]]:
        tracks = SuiteVersion.objects.values_list("definition__tracks", flat=True).get(pk=suite.version_id)
        return [
            {
                "key": scenario["key"],
                "title": scenario["title"],
                "track": track["title"],
                "protocol": scenario.get("protocol", ""),
            }
            for track in tracks or []
            for scenario in track["scenarios"]
        ]


class SuiteQuery(PageQuery):
    # Suites are few: by default the list comes whole.
    limit: int = Field(MAX_PAGE_SIZE, ge=1, le=MAX_PAGE_SIZE, description="How many at most.")


class SuitePage(Page):
    items: list[SuiteOut]


@router.get(
    "/suites", operation_id="listSuites", summary="The suites that agents can be tested against", response=SuitePage
)
def list_suites(request: ApiRequest, query: Query[SuiteQuery], response: HttpResponse) -> SuitePage:
    """By engine and title."""
    suites = offered_suites()
    slugs = [suite.slug for suite in suites]
    if query.cursor and query.cursor not in slugs:
        raise bad_cursor()
    start = slugs.index(query.cursor) + 1 if query.cursor else 0
    end = start + query.limit
    following = slugs[end - 1] if end < len(suites) else None
    link_to_next(following, request, response)
    return SuitePage.from_orm({"items": suites[start:end], "next": following})


@router.get(
    "/suites/{slug:slug}",
    operation_id="getSuite",
    summary="One suite, with its scenarios",
    response={200: SuiteWithScenarios, 404: ProblemDetails},
)
def one_suite(request: ApiRequest, slug: str) -> SuiteWithScenarios:
    suite = next((suite for suite in offered_suites() if suite.slug == slug), None)
    if suite is None:
        raise Http404
    return SuiteWithScenarios.from_orm(suite)
