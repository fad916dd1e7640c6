"""Forms of accounts, beside those of django-allauth."""

from __future__ import annotations

from django import forms


class SignupForm(forms.Form):
    name = forms.CharField(max_length=100, label="Your name", widget=forms.TextInput(attrs={"autocomplete": "name"}))

    def signup(self, request: object, user: object) -> None:
        user.name = self.cleaned_data["name"]  # type: ignore[attr-defined]
        user.save(update_fields=["name"])  # type: ignore[attr-defined]


# Of an input for names and codes, which nobody wants corrected.
PLAIN_TEXT = {"autocomplete": "off", "autocapitalize": "off", "spellcheck": "false"}
