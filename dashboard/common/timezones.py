"""A timezone as a choice: by continent, so that typing a city's first letters finds it."""

from __future__ import annotations

from functools import lru_cache
from html import escape
from itertools import groupby
from typing import Any

from django import forms
from django.utils.safestring import SafeString

from compliance.monitors.schedule import timezone_names
from dashboard.common.forms import attributes

# Old names of zones that are in the list under their own. One that a monitor has stays a choice of its form.
_OLD = ("Brazil", "Canada", "Chile", "Mexico", "US")


class ZoneSelect(forms.Select):
    """A select of every timezone, which is rendered once a process. assay.js puts the reader's own zone first."""

    def render(self, name: str, value: Any, attrs: dict[str, Any] | None = None, renderer: Any = None) -> SafeString:
        wanted = f'<option value="{escape(str(value or "UTC"))}"'
        options = _options()
        if wanted not in options:
            options = f"{wanted}>{escape(str(value))}</option>\n{options}"
        own = attributes({"name": name, "data-zones": "", **self.build_attrs(self.attrs, attrs)})
        return SafeString(f"<select{own}>\n{options.replace(wanted, f'{wanted} selected', 1)}</select>")


@lru_cache(maxsize=1)
def _options() -> str:
    # Names of the timezone database: letters, digits and signs that need no escaping.
    written = []
    for continent, names in groupby(timezone_names(), key=lambda name: name.partition("/")[0]):
        if continent in _OLD:
            continue
        cities = [(name, (name.partition("/")[2] or name).replace("_", " ")) for name in names]
        options = "".join(f'<option value="{name}">{city}</option>\n' for name, city in cities)
        written.append(options if continent == "UTC" else f'<optgroup label="{continent}">\n{options}</optgroup>\n')
    return "".join(written)
