"""The page behind an invitation's link."""

from __future__ import annotations

from urllib.parse import urlencode

from django.contrib import messages
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, resolve_url
from django.template.response import TemplateResponse
from django.views.decorators.cache import never_cache

from compliance.models import Invitation, Membership, Organization, User
from compliance.tenancy.actions import accept_invitation, has_confirmed
from compliance.tenancy.errors import Refused
from compliance.tenancy.invitations import read_token
from compliance.tenancy.scope import organization_scope
from dashboard.accounts.adapters import forget_invitation, remember_invitation


@never_cache
def invitation_accept(request: HttpRequest, token: str) -> HttpResponseBase:
    """Show who invites to what, and accept by POST. Anonymous visitors sign in or up first and come back."""
    named = read_token(token)
    if named is None:
        return _answer(request, "damaged", status=404)
    organization_id, invitation_id = named
    # The signature is the right to see this one invitation: its holder was given it.
    with organization_scope(organization_id):
        invitation = (
            Invitation.objects.select_related("organization")
            .filter(pk=invitation_id, organization_id=organization_id)
            .first()
        )
        is_member = (
            request.user.is_authenticated
            and Membership.objects.filter(organization_id=organization_id, user=request.user).exists()
        )
    if invitation is None:
        forget_invitation(request)
        return _answer(request, "withdrawn", status=410)
    if is_member:
        forget_invitation(request)
        messages.info(request, f"You are a member of {invitation.organization.name}.")
        return redirect("overview", invitation.organization.slug)
    if invitation.accepted_at is not None or invitation.has_expired:
        forget_invitation(request)
        return _answer(request, "used" if invitation.accepted_at else "expired", invitation, status=410)
    if not isinstance(request.user, User):
        remember_invitation(request, token)
        query = {"next": request.path}
        links = {
            "login": f"{resolve_url('account_login')}?{urlencode(query)}",
            "signup": f"{resolve_url('account_signup')}?{urlencode({**query, 'email': invitation.email})}",
        }
        return _answer(request, "anonymous", invitation, links=links)
    if invitation.email.lower() != request.user.email.lower():
        return _answer(request, "other_address", invitation)
    if not has_confirmed(request.user, invitation.email):
        remember_invitation(request, token)  # the link in the e-mail leads back here
        return _answer(request, "unconfirmed", invitation)
    if request.method == "POST":
        return _accept(request, request.user, invitation.organization, invitation_id)
    return _answer(request, "open", invitation)


def _accept(request: HttpRequest, user: User, organization: Organization, invitation_id: str) -> HttpResponseBase:
    try:
        accept_invitation(organization_id=organization.id, invitation_id=invitation_id, by=user)
    except Refused as refused:
        messages.error(request, str(refused))
        return redirect(request.path)
    forget_invitation(request)
    messages.success(request, f"Welcome to {organization.name}.")
    return redirect("overview", organization.slug)


def _answer(
    request: HttpRequest,
    state: str,
    invitation: Invitation | None = None,
    status: int = 200,
    links: dict[str, str] | None = None,
) -> TemplateResponse:
    context = {"state": state, "invitation": invitation, **(links or {})}
    return TemplateResponse(request, "organizations/invitation.html", context, status=status)
