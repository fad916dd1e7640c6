"""Organizations and their members: creating, settings, inviting, roles, leaving."""

from __future__ import annotations

from functools import partial
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, resolve_url
from django.template.response import TemplateResponse
from django.views.decorators.http import require_POST, require_safe

from compliance.models import Invitation, Membership, Role, User
from compliance.tenancy import actions
from dashboard.common.access import OrganizationRequest, organization_view
from dashboard.common.confirm import ask_first, refusals_in
from dashboard.organizations.forms import DeletionForm, InvitationForm, OrganizationForm, roles_to_give
from dashboard.organizations.limits import count_mail
from dashboard.organizations.mail import address_of, send_invitation
from dashboard.organizations.tables import InvitationTable, MemberTable


@login_required
def organization_create(request: HttpRequest) -> HttpResponseBase:
    """Create an organization; whoever does is its owner."""
    assert isinstance(request.user, User)
    form = OrganizationForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        with refusals_in(form, "name"):
            organization = actions.create_organization(name=form.cleaned_data["name"], by=request.user)
            messages.success(request, f"{organization.name} is created. Register its first agent.")
            return redirect("overview", organization.slug)
    context = {"form": form, "memberships": Membership.objects.of_user(request.user)}
    return TemplateResponse(request, "organizations/create.html", context)


@organization_view(Role.ADMIN)
def organization_settings(request: OrganizationRequest) -> HttpResponseBase:
    """Rename the organization; the way to its deletion."""
    form = OrganizationForm(request.POST or None, initial={"name": request.organization.name})
    if request.method == "POST" and form.is_valid():
        actions.rename_organization(**request.acting, **form.cleaned_data)
        messages.success(request, "The name is changed.")
        return redirect("organization_settings", request.organization.slug)
    return TemplateResponse(request, "organizations/settings.html", {"form": form})


@organization_view(Role.OWNER)
def organization_delete(request: OrganizationRequest) -> HttpResponseBase:
    """Delete the organization, once its name is typed."""
    form = DeletionForm(request.POST or None, organization=request.organization)
    if request.method == "POST" and form.is_valid():
        name = request.organization.name
        actions.delete_organization(**request.acting)
        messages.success(request, f"{name} is deleted.")
        return redirect("home")
    return TemplateResponse(request, "organizations/delete.html", {"form": form})


@organization_view()
@require_safe
def members(request: OrganizationRequest) -> HttpResponseBase:
    """Who is in the organization and who is invited; forms for owners and admins."""
    return _members_page(request, InvitationForm(inviter_role=request.membership.role))


def _members_page(request: OrganizationRequest, form: InvitationForm, status: int = 200) -> HttpResponseBase:
    organization = request.organization
    mine = request.membership
    everybody = list(Membership.objects.of_organization(organization.id))
    only_owner = sum(member.role == Role.OWNER for member in everybody) == 1
    for member in everybody:
        member.may_change = _may_change(mine, member, only_owner)  # type: ignore[attr-defined]
    invitations = list(Invitation.objects.open_of(organization.id)) if mine.may_manage else []
    for invitation in invitations:
        invitation.address = address_of(invitation)  # type: ignore[attr-defined]
    context = {
        "form": form,
        "members": MemberTable(everybody, roles=roles_to_give(mine.role)),
        "invitations": InvitationTable(invitations),
    }
    return TemplateResponse(request, "organizations/members.html", context, status=status)


def _may_change(mine: Membership, theirs: Membership, only_owner: bool) -> bool:
    if theirs.role == Role.OWNER:
        return mine.role == Role.OWNER and not only_owner
    return mine.may_manage


@organization_view(Role.ADMIN)
def member_invite(request: OrganizationRequest) -> HttpResponseBase:
    """Invite an address. The e-mail goes out once the invitation is committed."""
    if request.method != "POST":  # such as a reload of the form that was refused
        return redirect("members", request.organization.slug)
    form = InvitationForm(request.POST, inviter_role=request.membership.role)
    if not form.is_valid():
        return _members_page(request, form, status=422)
    invitation = actions.invite(**request.acting, **form.cleaned_data)
    count_mail(invitation, by=request.user)
    transaction.on_commit(partial(_send, request, invitation))
    return redirect("members", request.organization.slug)


@organization_view(Role.ADMIN)
@require_POST
def invitation_resend(request: OrganizationRequest, invitation_id: UUID) -> HttpResponseBase:
    """Replace the invitation by a fresh one and send that."""
    invitation = actions.renew_invitation(**request.acting, invitation_id=invitation_id)
    count_mail(invitation, by=request.user)
    transaction.on_commit(partial(_send, request, invitation))
    return redirect("members", request.organization.slug)


def _send(request: OrganizationRequest, invitation: Invitation) -> None:
    if send_invitation(invitation, request.organization):
        messages.success(request, f"The invitation is on its way to {invitation.email}.")
    else:
        messages.warning(
            request,
            f"{invitation.email} is invited, but the e-mail could not be sent."
            " Copy the link below and send it yourself, or try again later.",
        )


@organization_view(Role.ADMIN)
@require_POST
def invitation_revoke(request: OrganizationRequest, invitation_id: UUID) -> HttpResponseBase:
    actions.revoke_invitation(**request.acting, invitation_id=invitation_id)
    messages.success(request, "The invitation is withdrawn. Its link no longer works.")
    return redirect("members", request.organization.slug)


@organization_view(Role.ADMIN)
@require_POST
def member_role(request: OrganizationRequest, membership_id: int) -> HttpResponseBase:
    changed = actions.change_role(**request.acting, membership_id=membership_id, role=request.POST.get("role", ""))
    messages.success(request, f"{changed.user.get_full_name()} has the role {changed.get_role_display().lower()} now.")
    return redirect("members", request.organization.slug)


@organization_view()
@require_POST
def member_remove(request: OrganizationRequest, membership_id: int) -> HttpResponseBase:
    """End a membership, one's own included, after a question."""
    organization = request.organization
    theirs = Membership.objects.select_related("user").get(organization=organization, pk=membership_id)
    leaving = theirs.user_id == request.user.pk
    name = theirs.user.get_full_name()
    question = ask_first(
        request,
        title=f"Leave {organization.name}?" if leaving else f"Remove {name}?",
        text="You lose access to its agents and their history at once. Only an invitation brings you back."
        if leaving
        else f"They lose access to {organization.name} at once. Their runs stay in the history.",
        button="Leave" if leaving else "Remove",
        back=resolve_url("members", organization.slug),
    )
    if question is not None:
        return question
    actions.remove_member(**request.acting, membership_id=membership_id)
    if leaving:
        messages.success(request, f"You have left {organization.name}.")
        return redirect("home")
    messages.success(request, f"{name} is no longer a member.")
    return redirect("members", organization.slug)
