"""Forms of the dashboard."""

from __future__ import annotations

from typing import Any

from django import forms

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
