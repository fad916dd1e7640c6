"""Badges: one colour, one shape and one word for each status and verdict, the same on every page (R6)."""

from __future__ import annotations

from django.utils.html import format_html
from django.utils.safestring import SafeString

WORDS = {
    # What a whole run, or an agent, is.
    "passing": "Passing",
    "partial": "Partial",
    "failing": "Failing",
    "inconclusive": "Inconclusive",
    "never": "No result yet",
    # What one step says.
    "passed": "Passed",
    "failed": "Failed",
    "skipped": "Skipped",
    "silent": "Silent",
    "not_applicable": "Not applicable",
    "not_tested": "Not tested",
    # Where a request is.
    "queued": "Queued",
    "leased": "Running",
}
_SHAPE = {"leased": "running"}
# Made once: a list page shows hundreds.
_BADGES = {
    key: format_html('<span class="v v-{}">{}</span>', _SHAPE.get(key, key), word) for key, word in WORDS.items()
}


def badge(key: str | None) -> SafeString:
    """The badge of a status or verdict; of None, that there is no test yet."""
    return _BADGES[key or "never"]


def tally(counts: dict[str, int]) -> SafeString:
    """A run's verdicts with their numbers, those that occur, each by its own name."""
    items = [
        format_html('<li><span class="v v-{}">{} {}</span></li>', key, count, WORDS[key].lower())
        for key, count in counts.items()
        if count
    ]
    return SafeString(f'<ul class="tally">{"".join(items)}</ul>')
