"""Credentials: what the organization keeps, and what it grants. No page shows a secret."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from uuid import UUID

from django.contrib import messages
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.decorators.debug import sensitive_post_parameters

from compliance.models import AgentContext, Credential, CredentialGrant, Organization, Role
from compliance.vault import actions
from compliance.vault.access_log import access_page, last_uses
from compliance.vault.kinds import Kind
from compliance.vault.models import CredentialUse, UseFor
from dashboard.common.access import OrganizationRequest, organization_view
from dashboard.common.confirm import confirmed_action, refusals_in
from dashboard.credentials.access_log import with_run_statuses
from dashboard.credentials.forms import GrantForm, RenameCredentialForm, SecretForm
from dashboard.credentials.tables import AccessTable, CredentialTable

LAST_USES = 10
DELETION = "The secret is destroyed and its grants are revoked. Its name and the record of its uses stay."
REVOCATION = "Whatever begins from now on does not use the credential by this grant. A run that has begun goes on."


@dataclass(frozen=True, slots=True)
class GrantShown:
    grant: CredentialGrant
    agents: list[AgentContext]
    removed: int  # agents that it named and that the organization no longer has


# The uses that a grant can be for, in a word.
_SHORT = {
    UseFor.OWNER_TESTS: "tests",
    UseFor.MONITORS: "monitors",
    UseFor.HEARTBEATS: "heartbeats",
    UseFor.PRIVATE_RUNNERS: "private runners",
}


@dataclass(frozen=True, slots=True)
class Granted:
    """What a credential may be used for now."""

    uses: list[str]
    agents: int
    until: datetime | None
    has_expired: bool  # nothing now, but something once

    @classmethod
    def by(cls, grants: list[CredentialGrant]) -> Granted:
        """By these grants, of which none was revoked."""
        live = [grant for grant in grants if grant.is_live]
        return cls(
            uses=[short for use, short in _SHORT.items() if any(grant.is_for(use) for grant in live)],
            agents=len({context_id for grant in live for context_id in grant.context_ids}),
            until=max((grant.expires_at for grant in live), default=None),
            has_expired=bool(grants) and not live,
        )


def get_credential(organization: Organization, credential: UUID) -> Credential:
    """One of the organization's credentials, a deleted one too; 404 for any other's."""
    return Credential.objects.get(organization=organization, pk=credential)


def _kept(organization: Organization, credential: UUID) -> Credential:
    return Credential.objects.get(organization=organization, pk=credential, deleted_at=None)


@organization_view()
def credentials(request: OrganizationRequest) -> HttpResponseBase:
    """Every credential with what it is granted for and when it was last used."""
    organization = request.organization
    kept = list(Credential.objects.not_deleted(organization.id))
    grants = defaultdict(list)
    for grant in CredentialGrant.objects.filter(organization_id=organization.id, revoked_at=None):
        grants[grant.credential_id].append(grant)
    used = last_uses(organization_id=organization.id)
    for credential in kept:
        credential.granted = Granted.by(grants[credential.pk])  # type: ignore[attr-defined]
        credential.last_used_at = used.get(credential.pk)  # type: ignore[attr-defined]
    return TemplateResponse(request, "credentials/list.html", {"table": CredentialTable(kept)})


@sensitive_post_parameters("secret")
@organization_view(Role.ADMIN)
def credential_add(request: OrganizationRequest) -> HttpResponseBase:
    """Choose a kind, then enter the secret."""
    kind = request.POST.get("kind") or request.GET.get("kind", "")
    if kind not in Kind.values:
        return TemplateResponse(request, "credentials/choose_kind.html", {"kinds": Kind.choices})
    form = SecretForm(request.POST if request.method == "POST" else None, kind=kind, named=True)
    if request.method == "POST" and form.is_valid():
        with refusals_in(form):
            added = actions.add_credential(
                **request.acting,
                name=form.cleaned_data["name"],
                kind=kind,
                parameters=form.parameters(),
                secret=form.cleaned_data["secret"],
            )
            messages.success(request, f"“{added.name}” is kept. Grant it now: until then nothing uses it.")
            return redirect("grant_add", request.organization.slug, added.pk)
    page = {"form": form, "kind": kind, "kind_words": Kind(kind).label}
    return TemplateResponse(request, "credentials/add.html", page, status=422 if form.errors else 200)


@organization_view()
def credential(request: OrganizationRequest, credential: UUID) -> HttpResponseBase:
    """What is known of a credential, its grants and its last uses; managers rename it here."""
    found = get_credential(request.organization, credential)
    renaming = request.method == "POST"
    form = RenameCredentialForm(request.POST if renaming else None, initial={"name": found.name})
    if renaming and form.is_valid():
        with refusals_in(form, "name"):
            actions.rename_credential(**request.acting, credential_id=credential, **form.cleaned_data)
            messages.success(request, "The name is changed. Past runs keep the one that they had.")
            return redirect("credential", request.organization.slug, credential)
    page = {
        "credential": found,
        "form": form,
        **_grants_and_uses(request.organization, found),
        "deletion": DELETION,
        "revocation": REVOCATION,
        "parameters": [
            (name.replace("_", " ").capitalize(), value) for name, value in found.parameters.items() if value
        ],
    }
    return TemplateResponse(request, "credentials/detail.html", page, status=422 if form.errors else 200)


def _grants_and_uses(organization: Organization, found: Credential) -> dict[str, object]:
    grants = list(found.grants.order_by("-created_at", "-id"))
    named = {context_id for grant in grants for context_id in grant.context_ids}
    contexts = AgentContext.objects.filter(organization=organization, pk__in=named).order_by("name", "id")
    by_id = {context.pk: context for context in contexts}
    shown = [
        GrantShown(
            grant,
            [context for pk, context in by_id.items() if pk in grant.context_ids],
            sum(pk not in by_id for pk in grant.context_ids),
        )
        for grant in grants
    ]
    uses = access_page(
        CredentialUse.objects.narrowed(credential_id=found.pk), organization_id=organization.id, size=LAST_USES
    )
    return {
        "live": [each for each in shown if each.grant.is_live],
        "ended": [each for each in shown if not each.grant.is_live],
        "uses": AccessTable(with_run_statuses(uses.rows)),
        "more_uses": uses.next is not None,
    }


@sensitive_post_parameters("secret")
@organization_view(Role.ADMIN)
def credential_replace(request: OrganizationRequest, credential: UUID) -> HttpResponseBase:
    """Enter another secret, and what goes with it, for the same credential."""
    found = _kept(request.organization, credential)
    form = SecretForm(
        request.POST if request.method == "POST" else None, kind=found.kind, named=False, initial=found.parameters
    )
    if request.method == "POST" and form.is_valid():
        with refusals_in(form):
            actions.replace_secret(
                **request.acting,
                credential_id=credential,
                parameters=form.parameters(),
                secret=form.cleaned_data["secret"],
            )
            messages.success(request, "The secret is replaced. Its grants hold for the new one.")
            return redirect("credential", request.organization.slug, credential)
    page = {"form": form, "credential": found}
    return TemplateResponse(request, "credentials/replace.html", page, status=422 if form.errors else 200)


@organization_view(Role.ADMIN)
def credential_delete(request: OrganizationRequest, credential: UUID) -> HttpResponseBase:
    found = _kept(request.organization, credential)
    slug = request.organization.slug
    return confirmed_action(
        request,
        partial(actions.delete_credential, **request.acting, credential_id=credential),
        title=f"Delete “{found.name}”?",
        text=DELETION,
        button="Delete the credential",
        back=reverse("credential", args=[slug, credential]),
        done=f"“{found.name}” is deleted.",
        then=reverse("credentials", args=[slug]),
    )


@organization_view(Role.ADMIN)
def grant_add(request: OrganizationRequest, credential: UUID) -> HttpResponseBase:
    """Consent to uses of a credential. The page says what that means."""
    found = _kept(request.organization, credential)
    form = GrantForm(request.POST if request.method == "POST" else None, organization_id=request.organization.id)
    if request.method == "POST" and form.is_valid():
        with refusals_in(form):
            actions.grant_credential(
                **request.acting,
                credential_id=credential,
                uses=form.cleaned_data["uses"],
                context_ids=form.cleaned_data["agents"],
                days=form.cleaned_data["days"],
            )
            messages.success(request, f"“{found.name}” is granted.")
            return redirect("credential", request.organization.slug, credential)
    page = {"form": form, "credential": found}
    return TemplateResponse(request, "credentials/grant_add.html", page, status=422 if form.errors else 200)


@organization_view(Role.ADMIN)
def grant_revoke(request: OrganizationRequest, grant: UUID) -> HttpResponseBase:
    grants = CredentialGrant.objects.filter(organization_id=request.organization.id)
    found = grants.select_related("credential").get(pk=grant)
    back = reverse("credential", args=[request.organization.slug, found.credential_id])
    return confirmed_action(
        request,
        partial(actions.revoke_grant, **request.acting, grant_id=grant),
        title=f"Revoke this grant of “{found.credential.name}”?",
        text=REVOCATION,
        button="Revoke the grant",
        back=back,
        done="The grant is revoked.",
        then=back,
    )
