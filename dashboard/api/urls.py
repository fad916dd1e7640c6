"""The API and its URLs. Everything else under /api/ gets a problem too."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.urls import path, re_path
from django.views.decorators.csrf import csrf_exempt
from ninja.renderers import BaseRenderer
from pydantic_core import to_json

from dashboard.agents.api import router as agents
from dashboard.api.authentication import in_organization
from dashboard.api.document import DocumentedAPI
from dashboard.api.parser import BodyParser
from dashboard.api.problems import add_exception_handlers, not_found
from dashboard.jobs.api import router as jobs
from dashboard.monitors.api import router as monitors
from dashboard.monitors.decisions_api import router as decisions
from dashboard.organizations.api import router as organization
from dashboard.runners.api import router as runners
from dashboard.runs.api import router as runs
from dashboard.suites.api import router as suites
from dashboard.webhooks.api import router as webhooks


class Renderer(BaseRenderer):
    media_type = "application/json"

    def render(self, request: HttpRequest, data: Any, *, response_status: int) -> bytes:
        return to_json(data)  # unlike Django's encoder it keeps the microseconds of times


api = DocumentedAPI(
    title="Assay",
    version="1",
    description="The API of Assay. docs/api.md explains keys, errors, paging, limits and ETags.",
    openapi_url="/openapi.json",
    docs_url=None,
    urls_namespace="api",
    parser=BodyParser(),
    renderer=Renderer(),
)
add_exception_handlers(api)
for router in (organization, agents, jobs, runs, monitors, decisions, suites):
    router.add_decorator(in_organization)
    api.add_router("", router)
api.add_router("/runner", runners)
api.add_router("/webhooks", webhooks)


@csrf_exempt
def unknown(request: HttpRequest) -> HttpResponse:
    return not_found().response()


urlpatterns = [
    path("v1/", api.urls),
    re_path("", unknown),
]
