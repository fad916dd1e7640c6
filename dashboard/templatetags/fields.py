"""Form fields as Bootstrap shows them: {% load fields %}."""

from __future__ import annotations

from django import template
from django.forms import BoundField, CheckboxInput, Select

register = template.Library()


@register.simple_tag
def control(field: BoundField) -> str:
    """The field's input. Its label, help and errors are the template's."""
    widget = field.field.widget
    widget.attrs.pop("placeholder", None)  # the label says it, and stays while one types
    kind = "form-check-input" if isinstance(widget, CheckboxInput) else "form-control"
    if isinstance(widget, Select):
        kind = "form-select"
    return field.as_widget(attrs={"class": f"{kind} is-invalid" if field.errors else kind})
