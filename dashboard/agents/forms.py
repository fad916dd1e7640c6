"""Forms of agents."""

from __future__ import annotations

from django import forms

from compliance.models import Agent
from compliance.registry.models import MAX_INTERVAL_HOURS, MIN_INTERVAL_HOURS
from dashboard.common.forms import StyledForm


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
        fields = ["heartbeat_interval_hours", "lifecycle_stage", "paused", "opted_out", "max_at_once"]
        labels = {
            "heartbeat_interval_hours": "Hours between heartbeats",
            "lifecycle_stage": "Lifecycle stage",
            "paused": "Pause heartbeats",
            "opted_out": "Opt out of heartbeats",
            "max_at_once": "Tests at once",
        }
        help_texts = {
            "heartbeat_interval_hours": f"{MIN_INTERVAL_HOURS} to {MAX_INTERVAL_HOURS}.",
            "lifecycle_stage": "Heartbeats run in testing and production only.",
            "paused": "For a while, such as during maintenance. Monitors wait too. The public status stays as it is.",
            "opted_out": "For good: neither the platform nor anybody's monitor checks this agent by itself.",
            "max_at_once": "The most, of all organizations and heartbeats together. Empty: as many as are asked for.",
        }
