"""API keys of an organization: the list, making one, ending one."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from uuid import UUID

from django import forms
from django.conf import settings
from django.core.validators import MaxValueValidator
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone

from compliance.models import ApiKey, Role
from compliance.tenancy.api_key_actions import create_key, revoke_key
from compliance.tenancy.models import OF_ORGANIZATION, Scope
from dashboard.common.access import OrganizationRequest, organization_view
from dashboard.common.confirm import confirmed_action, refusals_in
from dashboard.common.forms import StyledForm
from dashboard.organizations.tables import ApiKeyTable

MOST_SHOWN = 200
ENDING = "Programs that use it are refused at once. It cannot be taken back; make another one instead."


class KeyForm(StyledForm, forms.Form):
    """A key to make."""

    name = forms.CharField(
        label="Name",
        max_length=100,
        help_text="What uses it, such as “CI of the support agent”.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
    scopes = forms.MultipleChoiceField(
        label="What it may do",
        choices=[(scope.value, str(scope.label)) for scope in OF_ORGANIZATION],
        initial=[Scope.READ.value],
        widget=forms.CheckboxSelectMultiple,
        error_messages={"required": "Choose what the key may do."},
    )
    days = forms.IntegerField(label="For how many days", min_value=1)

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        days = self.fields["days"]
        assert isinstance(days, forms.IntegerField)
        days.initial = settings.API_KEY_DEFAULT_DAYS
        days.help_text = f"1 to {settings.API_KEY_MAX_DAYS}. Then it no longer works."
        days.widget.attrs["max"] = settings.API_KEY_MAX_DAYS
        longest = settings.API_KEY_MAX_DAYS
        days.validators.append(MaxValueValidator(longest, f"The key must expire within {longest} days."))


@organization_view(Role.ADMIN)
def api_keys(request: OrganizationRequest) -> HttpResponseBase:
    """The keys, those that have ended too."""
    organization = request.organization
    table = ApiKeyTable(ApiKey.objects.of_organization(organization.id).defer("secret_hash")[:MOST_SHOWN])
    return TemplateResponse(request, "organizations/api_keys.html", {"table": table})


@organization_view(Role.ADMIN)
def api_key_add(request: OrganizationRequest) -> HttpResponseBase:
    """Make a key. Its token is in the answer to the form and nowhere else: no page can show it again."""
    form = KeyForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        with refusals_in(form):
            key, token = create_key(
                **request.acting,
                name=form.cleaned_data["name"],
                scopes=form.cleaned_data["scopes"],
                expires=timezone.now() + timedelta(days=form.cleaned_data["days"]),
            )
            page = {"key": key, "token": token, "site": settings.SITE_URL}
            return TemplateResponse(request, "organizations/api_key_created.html", page, status=201)
    return TemplateResponse(
        request, "organizations/api_key_add.html", {"form": form}, status=422 if form.errors else 200
    )


@organization_view(Role.ADMIN)
def api_key_revoke(request: OrganizationRequest, key: UUID) -> HttpResponseBase:
    """End a key, once that is confirmed."""
    organization = request.organization
    found = ApiKey.objects.of_organization(organization.id).get(pk=key)
    back = reverse("api_keys", args=[organization.slug])
    if not found.works:
        return redirect(back)
    return confirmed_action(
        request,
        partial(revoke_key, **request.acting, key_id=found.pk),
        title=f"Revoke “{found.name}”?",
        text=ENDING,
        button="Revoke the key",
        back=back,
        done=f"“{found.name}” is revoked.",
        then=back,
    )
