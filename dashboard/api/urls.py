"""The API as a whole, and its addresses. Whatever else lies under /api/ is answered as a problem too."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.urls import path, re_path
from django.views.decorators.csrf import csrf_exempt

from dashboard.agents import api as agents
from dashboard.api import webhooks
from dashboard.api.bodies import BodyParser
from dashboard.api.document import DocumentedAPI
from dashboard.api.problems import answer_problems, not_found
from dashboard.jobs import api as requests
from dashboard.monitors import api as monitors
from dashboard.monitors import decisions_api as decisions
from dashboard.organizations import api as organization
from dashboard.runners import api as runners
from dashboard.runs import api as runs
from dashboard.suites import api as suites

api = DocumentedAPI(
    title="Assay",
    version="1",
    description="The API of Assay. docs/api.md explains keys, errors, paging, limits and ETags.",
    openapi_url="/openapi.json",
    docs_url=None,
    urls_namespace="api",
    parser=BodyParser(),
)
answer_problems(api)
for room in (organization, agents, requests, runs, monitors, decisions, suites):
    api.add_router("", room.router)
api.add_router("/runner", runners.router)
api.add_router("/webhooks", webhooks.router)


@csrf_exempt
def unknown(request: HttpRequest) -> HttpResponse:
    return not_found().response()


urlpatterns = [
    path("v1/", api.urls),
    re_path("", unknown),
]
