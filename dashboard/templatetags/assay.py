"""Template tags of the dashboard: {% load assay %}."""

from __future__ import annotations

from django import template

from dashboard.times import instant

register = template.Library()
register.simple_tag(instant)
