"""Template tags of the dashboard: {% load assay %}."""

from __future__ import annotations

from django import template

from dashboard.common.badges import badge
from dashboard.common.formatting import due, duration, instant, lasting
from dashboard.common.navigation import once, topbar

register = template.Library()
register.simple_tag(instant)
register.simple_tag(due)
register.simple_tag(lasting)
register.simple_tag(badge)
register.simple_tag(once)
register.simple_tag(topbar, takes_context=True)
register.filter(duration)
