"""Forms of the dashboard."""

from __future__ import annotations

from html import escape  # Django's own does the same by way of lazy strings, at four times the price
from typing import Any

from django import forms
from django.utils.safestring import SafeString

from compliance.models import Agent
from compliance.registry.models import MAX_INTERVAL_HOURS, MIN_INTERVAL_HOURS


class SignupForm(forms.Form):
    name = forms.CharField(max_length=100, label="Your name", widget=forms.TextInput(attrs={"autocomplete": "name"}))

    def signup(self, request: object, user: object) -> None:
        user.name = self.cleaned_data["name"]  # type: ignore[attr-defined]
        user.save(update_fields=["name"])  # type: ignore[attr-defined]


# Of an input for names and codes, which nobody wants corrected.
PLAIN_TEXT = {"autocomplete": "off", "autocapitalize": "off", "spellcheck": "false"}


class StyledForm(forms.BaseForm):
    """Bootstrap's classes on every field, and a link from each field to its error."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("label_suffix", "")
        super().__init__(*args, **kwargs)
        self.style()

    def style(self) -> None:
        """Once more after fields were added."""
        for field in self.fields.values():
            widget = field.widget
            if isinstance(widget, forms.CheckboxInput | forms.CheckboxSelectMultiple):
                widget.attrs.setdefault("class", "form-check-input")
            else:
                widget.attrs.setdefault("class", "form-select" if isinstance(widget, forms.Select) else "form-control")


def attributes(attrs: dict[str, Any]) -> str:
    """As HTML: True stands for a bare attribute, False and None for none, as in Django's widgets."""
    return "".join(
        f" {name}" if value is True else f' {name}="{escape(str(value))}"'
        for name, value in attrs.items()
        if value is not None and value is not False
    )


class PlainSelect(forms.Select):
    """A flat select written without templates: Django renders one for each option, and the filters have twenty."""

    def render(self, name: str, value: Any, attrs: dict[str, Any] | None = None, renderer: Any = None) -> SafeString:
        chosen = self.format_value(value)
        options = "".join(
            f'<option value="{escape(str(option))}"{" selected" if str(option) in chosen else ""}>'
            f"{escape(str(words))}</option>\n"
            for option, words in self.choices
        )
        own = attributes({"name": name, **self.build_attrs(self.attrs, attrs)})
        return SafeString(f"<select{own}>\n{options}</select>")


class PlainDate(forms.DateInput):
    """A date's input written without a template."""

    def render(self, name: str, value: Any, attrs: dict[str, Any] | None = None, renderer: Any = None) -> SafeString:
        own = {"type": self.input_type, "name": name, "value": self.format_value(value)}
        return SafeString(f"<input{attributes({**own, **self.build_attrs(self.attrs, attrs)})}>")


class AgentForm(StyledForm, forms.Form):
    # Not a URLField: the registry's own rules decide, and its messages say what to do.
    url = forms.CharField(
        label="Address",
        help_text="Where the agent answers, such as https://agent.example/mcp.",
        error_messages={"required": "Enter the agent's address, such as https://agent.example/mcp."},
        widget=forms.TextInput(
            attrs={"inputmode": "url", "autocomplete": "off", "autocapitalize": "off", "spellcheck": "false"}
        ),
    )
    name = forms.CharField(
        label="Name", max_length=100, required=False, help_text="Yours alone. Made from the address when left empty."
    )


class RenameForm(StyledForm, forms.Form):
    name = forms.CharField(label="Name", max_length=100)


class HeartbeatForm(StyledForm, forms.ModelForm):
    class Meta:
        model = Agent
        fields = ["heartbeat_interval_hours", "lifecycle_stage", "paused", "opted_out"]
        labels = {
            "heartbeat_interval_hours": "Hours between heartbeats",
            "lifecycle_stage": "Lifecycle stage",
            "paused": "Pause heartbeats",
            "opted_out": "Opt out of heartbeats",
        }
        help_texts = {
            "heartbeat_interval_hours": f"{MIN_INTERVAL_HOURS} to {MAX_INTERVAL_HOURS}.",
            "lifecycle_stage": "Heartbeats run in testing and production only.",
            "paused": "For a while, such as during maintenance. Monitors wait too. The public status stays as it is.",
            "opted_out": "For good: neither the platform nor anybody's monitor checks this agent by itself.",
        }
