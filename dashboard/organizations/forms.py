"""Forms about organizations and the people in them."""

from __future__ import annotations

from django import forms

from compliance.models import Organization, Role


class OrganizationForm(forms.Form):
    name = forms.CharField(
        max_length=100,
        label="Name",
        widget=forms.TextInput(attrs={"autocomplete": "organization", "class": "form-control"}),
    )


class InvitationForm(forms.Form):
    email = forms.EmailField(
        max_length=254,
        label="E-mail address",
        widget=forms.EmailInput(attrs={"autocomplete": "off", "class": "form-control"}),
    )
    role = forms.ChoiceField(label="Role", widget=forms.Select(attrs={"class": "form-select"}))

    def __init__(self, *args: object, inviter_role: str, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        role = self.fields["role"]
        assert isinstance(role, forms.ChoiceField)
        role.choices = roles_to_give(inviter_role)
        role.initial = Role.MEMBER


class DeletionForm(forms.Form):
    """Asks for the organization's name, so that nobody deletes the wrong one in a hurry."""

    name = forms.CharField(
        label="Type the organization's name",
        widget=forms.TextInput(attrs={"autocomplete": "off", "class": "form-control"}),
    )

    def __init__(self, *args: object, organization: Organization, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.organization = organization

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        if name != self.organization.name:
            raise forms.ValidationError(f"This is not the name. Type “{self.organization.name}” exactly.")
        return name


def roles_to_give(giver_role: str) -> list[tuple[str, str]]:
    """The roles that somebody with this role may give, the least first. Only owners make owners."""
    return [
        (role.value, str(role.label))
        for role in (Role.MEMBER, Role.ADMIN, Role.OWNER)
        if role != Role.OWNER or giver_role == Role.OWNER
    ]
