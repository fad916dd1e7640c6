"""Who may open a page: every view under /o/<organization>/ goes through organization_view."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, cast

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import ObjectDoesNotExist
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, resolve_url
from django.template.response import SimpleTemplateResponse, TemplateResponse
from django.utils.cache import patch_cache_control, patch_vary_headers
from django.utils.http import url_has_allowed_host_and_scheme
from django_htmx.http import HttpResponseClientRedirect
from django_htmx.middleware import HtmxDetails

from compliance.models import Membership, Notice, Organization, Role, User
from compliance.tenancy.errors import NotAllowed, Refused
from compliance.tenancy.scope import organization_scope

View = Callable[..., HttpResponseBase]

LAST_ORGANIZATION = "assay_organization"  # the cookie with the address part of the organization shown last
_WHO_MAY = {Role.ADMIN: "owners and admins", Role.OWNER: "owners"}


class OrganizationRequest(HttpRequest):
    """The request as organization_view hands it to a view."""

    user: User
    htmx: HtmxDetails
    organization: Organization
    membership: Membership
    memberships: list[Membership]
    unread: int  # notices of the organization
    acting: dict[str, Any]  # who acts in which organization, as every action takes it


def organization_view(
    minimum_role: str = Role.MEMBER,
) -> Callable[[View], View]:
    """Decorate a view whose first argument after the request is the organization's slug, `org`.

    The view is called without it, as view(request, ...), inside organization_scope, and a
    TemplateResponse is rendered inside it too. A stranger gets the 404 of an unknown slug; a
    member with a lower role a 403 that says who may. Refused becomes a message.
    """

    def decorate(view: View) -> View:
        @wraps(view)
        def guarded(request: HttpRequest, org: str, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if not request.user.is_authenticated:
                return to_login(request)
            request = cast(OrganizationRequest, request)
            response = _in_scope(request, org, view, minimum_role, args, kwargs)
            if request.COOKIES.get(LAST_ORGANIZATION) != org:
                response.set_cookie(
                    LAST_ORGANIZATION, org, httponly=True, secure=settings.SESSION_COOKIE_SECURE, samesite="Lax"
                )
            # One address answers with a page or with a part of it, and neither is for anybody else's cache.
            patch_vary_headers(cast(HttpResponse, response), ["HX-Request"])
            patch_cache_control(cast(HttpResponse, response), private=True, no_store=True)
            return response

        return guarded

    return decorate


def _in_scope(
    request: OrganizationRequest,
    org: str,
    view: View,
    minimum_role: str,
    args: Any,
    kwargs: Any,
) -> HttpResponseBase:
    memberships = Membership.objects.of_user(request.user)
    membership = next((m for m in memberships if m.organization.slug == org), None)
    if membership is None:
        raise Http404
    request.memberships, request.membership, request.organization = memberships, membership, membership.organization
    request.acting = {"organization": membership.organization, "by": request.user}
    try:
        # The scope is left by the exception before anything is answered: what was half done is rolled back.
        with organization_scope(membership.organization_id):
            request.unread = Notice.objects.unread_count(membership.organization_id)
            if not Role(request.membership.role).includes(Role(minimum_role)):
                raise NotAllowed(f"Only {_WHO_MAY[Role(minimum_role)]} of the organization may do this.")
            response = view(request, *args, **kwargs)
            return response.render() if isinstance(response, SimpleTemplateResponse) else response
    except NotAllowed as refusal:
        with organization_scope(request.organization.id):
            return _not_allowed(request, refusal)
    except Refused as refusal:
        messages.error(request, str(refusal))
        return redirect(_where_from(request))
    except ObjectDoesNotExist:
        raise Http404 from None


def _not_allowed(request: OrganizationRequest, refusal: NotAllowed) -> HttpResponseBase:
    managers = [m for m in Membership.objects.of_organization(request.organization.id) if m.may_manage]
    context = {"reason": str(refusal), "managers": managers}
    return TemplateResponse(request, "common/not_allowed.html", context, status=403).render()


def _where_from(request: OrganizationRequest) -> str:
    """The page that the form was on, when it is one of ours."""
    referer = request.headers.get("Referer", "")
    # Back to the same address would ask the same again when it was no form that was refused.
    if request.method == "POST" and url_has_allowed_host_and_scheme(referer, {request.get_host()}, request.is_secure()):
        return referer
    return resolve_url("overview", request.organization.slug)


def reader_view(*, anonymous: bool = False) -> Callable[[View], View]:
    """Decorate a view that shows nothing of any organization; the bar above shows where the reader came from.

    anonymous: whoever is not signed in may read it too.
    """

    def decorate(view: View) -> View:
        @wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if not request.user.is_authenticated:
                return view(request, *args, **kwargs) if anonymous else to_login(request)
            last = request.COOKIES.get(LAST_ORGANIZATION)

            memberships = Membership.objects.of_user(request.user)
            if memberships:
                here = next((m for m in memberships if m.organization.slug == last), memberships[0])
                with organization_scope(here.organization_id):
                    unread = Notice.objects.unread_count(here.organization_id)
                request = cast(OrganizationRequest, request)
                request.organization, request.membership = here.organization, here
                request.memberships, request.unread = memberships, unread
            response = view(request, *args, **kwargs)
            patch_cache_control(cast(HttpResponse, response), private=True, no_store=True)
            return response

        return guarded

    return decorate


def to_login(request: HttpRequest) -> HttpResponseBase:
    """Send an anonymous reader to the login page and back here afterwards."""
    htmx = getattr(request, "htmx", None)
    if not htmx:
        return redirect_to_login(request.get_full_path())
    # A part of a page must not be filled with the login form: the whole page goes there.
    page = shown_path(htmx) or resolve_url("home")
    return HttpResponseClientRedirect(redirect_to_login(page).url)


def shown_path(htmx: HtmxDetails) -> str | None:
    """The path and query of the page that the browser shows; None when it is not ours, or no address at all."""
    try:
        return htmx.current_url_abs_path
    except ValueError:
        return None
