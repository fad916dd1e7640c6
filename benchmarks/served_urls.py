"""Assay's addresses, and the floor below which no page can be."""

from django.http import HttpRequest, HttpResponse
from django.urls import path

from compliance.urls import urlpatterns as served


def trivial(request: HttpRequest) -> HttpResponse:
    return HttpResponse("ok\n", content_type="text/plain")


urlpatterns = [path("bench/trivial/", trivial), *served]
