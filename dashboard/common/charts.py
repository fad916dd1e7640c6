"""Strips of recent verdicts, as the paths of an SVG image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from compliance.runs.models import STRIP_LENGTH

# Class, top of the bar: the better, the taller, so that the strip reads without its colours.
_BARS = {"passing": ("p", 0), "partial": ("h", 6), "failing": ("f", 11)}
_HEIGHT = 16


def strip_context(verdicts: Sequence[str]) -> dict[str, Any]:
    """What common/_strip.html draws: one path for each kind of verdict, so that forty strips stay a few kilobytes."""
    shown = verdicts[-STRIP_LENGTH:]
    start = STRIP_LENGTH - len(shown)
    paths = []
    for kind, (style, top) in _BARS.items():
        bars = [f"M{at} {top}V{_HEIGHT}" for at, verdict in enumerate(shown, start) if verdict == kind]
        if bars:
            paths.append((style, "".join(bars)))
    return {"paths": paths, "label": _in_words(shown), "length": STRIP_LENGTH, "height": _HEIGHT}


def _in_words(verdicts: Sequence[str]) -> str:
    """What the strip shows: "Last 30 tests: 28 passing, 2 failing; the newest passing"."""
    if not verdicts:
        return ""
    counts = [f"{verdicts.count(kind)} {kind}" for kind in _BARS if kind in verdicts]
    tests = "Last test" if len(verdicts) == 1 else f"Last {len(verdicts)} tests"
    return f"{tests}: {', '.join(counts)}; the newest {verdicts[-1]}"
