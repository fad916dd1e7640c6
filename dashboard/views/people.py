"""Organizations, their members and invitations."""

from __future__ import annotations

from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase


def organization_create(request: HttpRequest) -> HttpResponseBase:
    raise Http404


def members(request: HttpRequest, org: str) -> HttpResponseBase:
    raise Http404


def organization_settings(request: HttpRequest, org: str) -> HttpResponseBase:
    raise Http404


def invitation_accept(request: HttpRequest, token: str) -> HttpResponseBase:
    raise Http404
