"""The front door: to the organization shown last, or to the first one's creation."""

from __future__ import annotations

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.views.decorators.cache import never_cache

from compliance.models import Membership
from dashboard.common.access import LAST_ORGANIZATION, to_login


@never_cache
def home(request: HttpRequest) -> HttpResponseBase:
    """Redirect to the single organization or the one shown last; offer the choice otherwise."""
    if not request.user.is_authenticated:
        return to_login(request)
    memberships = Membership.objects.of_user(request.user)
    last = request.COOKIES.get(LAST_ORGANIZATION)
    for membership in memberships:
        if len(memberships) == 1 or membership.organization.slug == last:
            return redirect("overview", membership.organization.slug)
    return TemplateResponse(request, "organizations/home.html", {"memberships": memberships})
