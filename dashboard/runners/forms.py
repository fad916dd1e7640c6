"""Forms of private runners."""

from __future__ import annotations

from django import forms

from compliance.registry.models import POOL_LENGTH
from dashboard.common.forms import PLAIN_TEXT, StyledForm


class RunnerForm(StyledForm, forms.Form):
    """What a runner is called, and which pool it is in."""

    name = forms.CharField(
        label="Name",
        max_length=100,
        help_text="Such as the machine or the network that it is in. Results carry it.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
    pool = forms.CharField(
        label="Pool",
        max_length=POOL_LENGTH,
        required=False,
        help_text="Leave it empty for a runner by itself. Work for a pool goes to any runner in it: letters, digits"
        " and hyphens.",
        widget=forms.TextInput(attrs=PLAIN_TEXT),
    )
