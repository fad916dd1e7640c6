"""Statuses and verdicts on every page alike (R6): a word for each, and strips of recent ones as an SVG image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from compliance.runs.models import STRIP_LENGTH

# common/_badge.html adds a colour and a shape.
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
    # Where a job is.
    "queued": "Queued",
    "leased": "Running",
}

# The top of each bar: the better, the taller, so that the strip reads without its colours.
_TOPS = {"passing": 0, "partial": 6, "failing": 11}
_HEIGHT = 16
# One bar at each position.
_BARS = {kind: [f"M{at} {top}V{_HEIGHT}" for at in range(STRIP_LENGTH)] for kind, top in _TOPS.items()}


def strip_context(verdicts: Sequence[str]) -> dict[str, Any]:
    """What common/_strip.html draws: one path for each kind of verdict, so that forty strips stay a few kilobytes."""
    shown = verdicts[-STRIP_LENGTH:]
    paths: dict[str, list[str]] = {kind: [] for kind in _BARS}
    for at, verdict in enumerate(shown, STRIP_LENGTH - len(shown)):
        paths[verdict].append(_BARS[verdict][at])
    return {
        "label": _in_words(shown),
        "box": f"-.5 0 {STRIP_LENGTH} {_HEIGHT}",
        **{kind: "".join(bars) for kind, bars in paths.items()},
    }


def _in_words(verdicts: Sequence[str]) -> str:
    """What the strip shows: "Last 30 tests: 28 passing, 2 failing; the newest passing"."""
    if not verdicts:
        return ""
    counts = [f"{verdicts.count(kind)} {kind}" for kind in _TOPS if kind in verdicts]
    tests = "Last test" if len(verdicts) == 1 else f"Last {len(verdicts)} tests"
    return f"{tests}: {', '.join(counts)}; the newest {verdicts[-1]}"
