"""Forms of the vault. A secret goes in and never comes out: its input is always empty."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django import forms
from django.conf import settings

from compliance.models import AgentContext
from compliance.vault.kinds import ClientAuthentication, Kind
from compliance.vault.models import UseFor
from dashboard.common.forms import PLAIN_TEXT, StyledForm


def _text(label: str, help_text: str, **more: Any) -> forms.CharField:
    return forms.CharField(label=label, help_text=help_text, widget=forms.TextInput(attrs=PLAIN_TEXT), **more)


_SECRETS = {
    Kind.BEARER: ("Token", "Sent as “Authorization: Bearer …”."),
    Kind.BASIC: ("Password", "Sent with the user name as “Authorization: Basic …”."),
    Kind.API_KEY: ("Key", "Sent as the header's value, as it is."),
    Kind.OAUTH: ("Client secret", "Sent to the token endpoint only. Agents are sent the access token that it issues."),
}


class SecretForm(StyledForm, forms.Form):
    """What a credential of one kind consists of: for a new one with its name, for a replacement without."""

    def __init__(self, *args: Any, kind: str, named: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        fields: dict[str, forms.Field] = {}
        if named:
            fields["name"] = forms.CharField(
                label="Name",
                max_length=100,
                help_text="What your organization calls it. No secret.",
                widget=forms.TextInput(attrs={"autocomplete": "off"}),
            )
        fields |= _parameter_fields(kind)
        label, help_text = _SECRETS[Kind(kind)]
        fields["secret"] = forms.CharField(
            label=label,
            help_text=f"{help_text} Encrypted, and never shown again.",
            strip=False,
            # Browsers fill in what they saved for this site unless it is called a new password.
            widget=forms.PasswordInput(attrs={**PLAIN_TEXT, "autocomplete": "new-password"}),
        )
        self.fields.update(fields)
        self.style()

    def parameters(self) -> dict[str, str]:
        return {name: value for name, value in self.cleaned_data.items() if name not in ("name", "secret")}


def _parameter_fields(kind: str) -> dict[str, forms.Field]:
    if kind == Kind.BASIC:
        return {"username": _text("User name", "Shown to members.", max_length=200)}
    if kind == Kind.API_KEY:
        return {"header": _text("Header", "Such as X-API-Key.", max_length=100)}
    if kind == Kind.OAUTH:
        return {
            "token_url": _text("Token endpoint", "Such as https://login.example/oauth2/token.", max_length=2000),
            "client_id": _text("Client id", "Shown to members.", max_length=300),
            "scope": _text(
                "Scope",
                "Words with blanks between them. Leave it empty if none is needed.",
                max_length=1000,
                required=False,
            ),
            "client_authentication": forms.ChoiceField(
                label="The client proves itself",
                choices=ClientAuthentication.choices,
                help_text="In the header is the rule; some endpoints want it in the form.",
            ),
        }
    return {}


class RenameCredentialForm(StyledForm, forms.Form):
    name = forms.CharField(label="Name", max_length=100, widget=forms.TextInput(attrs={"autocomplete": "off"}))


class GrantForm(StyledForm, forms.Form):
    uses = forms.MultipleChoiceField(
        label="What for",
        choices=UseFor.choices,
        widget=forms.CheckboxSelectMultiple,
        error_messages={"required": "Choose at least one use."},
    )
    agents = forms.TypedMultipleChoiceField(
        label="Which agents",
        coerce=UUID,
        widget=forms.SelectMultiple,
        help_text="They are sent the secret, or the access token that it buys. Hold Ctrl or ⌘ to choose several.",
        error_messages={"required": "Choose at least one agent."},
    )
    days = forms.IntegerField(label="For how many days", min_value=1)

    def __init__(self, *args: Any, organization_id: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        contexts = list(AgentContext.objects.filter(organization_id=organization_id).order_by("name", "id"))
        # The normalized address, so its scheme is in one spelling.
        self.readable = [context for context in contexts if context.agent_id.startswith("http://")]
        choices = [
            (
                str(context.pk),
                f"{context.name} ({context.agent_id})" + (" · verified" if context.is_verified_owner else ""),
            )
            for context in contexts
        ]
        self.fields["agents"].choices = choices  # type: ignore[attr-defined]
        self.fields["agents"].widget.attrs["size"] = str(min(max(len(choices), 3), 10))
        days = self.fields["days"]
        days.initial = min(settings.GRANT_DEFAULT_DAYS, settings.GRANT_MAX_DAYS)
        days.help_text = f"1 to {settings.GRANT_MAX_DAYS}. Then it is not used until it is granted again."
        days.widget.attrs["max"] = settings.GRANT_MAX_DAYS
