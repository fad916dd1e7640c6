"""Inline SVG: strips of recent verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from django.utils.safestring import SafeString, mark_safe

from compliance.runs.models import STRIP_LENGTH

# Class, top of the bar: the better, the taller, so that the strip reads without its colours.
_BARS = {"passing": ("p", 0), "partial": ("h", 6), "failing": ("f", 11)}
_HEIGHT = 16
# One bar at each place, drawn beforehand: an overview has a thousand and more of them.
_DRAWN = {
    verdict: [f"M{place} {top}V{_HEIGHT}" for place in range(STRIP_LENGTH)] for verdict, (_, top) in _BARS.items()
}


def strip(verdicts: Sequence[str], wide: bool = False) -> SafeString:
    """The last runs' verdicts, oldest first, as bars; the newest stands at the right.

    One path for each kind of verdict, of move and line commands: forty strips stay a few kilobytes.
    """
    return _strip(tuple(verdicts[-STRIP_LENGTH:]), wide)


# An agent's strip stays as it is between its tests, and looks like others': most are drawn already.
@lru_cache(maxsize=2048)  # about a kilobyte each
def _strip(verdicts: tuple[str, ...], wide: bool) -> SafeString:
    if not verdicts:
        return SafeString("")
    start = STRIP_LENGTH - len(verdicts)
    drawn = ""
    for kind, (style, _) in _BARS.items():
        bars = "".join([bar for bar, verdict in zip(_DRAWN[kind][start:], verdicts, strict=True) if verdict == kind])
        if bars:
            drawn += f'<path class="s-{style}" d="{bars}"/>'
    # Numbers and our own words only: nothing to escape.
    return mark_safe(  # noqa: S308
        f'<svg class="strip{" strip-wide" if wide else ""}" viewBox="-.5 0 {STRIP_LENGTH} {_HEIGHT}"'
        f' preserveAspectRatio="none" role="img" aria-label="{in_words(verdicts)}">{drawn}</svg>'
    )


def strip_context(verdicts: Sequence[str]) -> dict[str, Any]:
    """What common/_strip.html draws: one path for each kind of verdict, so that forty strips stay a few kilobytes."""
    shown = verdicts[-STRIP_LENGTH:]
    start = STRIP_LENGTH - len(shown)
    paths = []
    for kind, (style, top) in _BARS.items():
        bars = [f"M{at} {top}V{_HEIGHT}" for at, verdict in enumerate(shown, start) if verdict == kind]
        if bars:
            paths.append((style, "".join(bars)))
    label = in_words(shown) if shown else ""
    return {"paths": paths, "label": label, "length": STRIP_LENGTH, "height": _HEIGHT}


def in_words(verdicts: Sequence[str]) -> str:
    """What the strip shows: "Last 30 tests: 28 passing, 2 failing; the newest passing"."""
    counts = [f"{verdicts.count(kind)} {kind}" for kind in _BARS if kind in verdicts]
    tests = "Last test" if len(verdicts) == 1 else f"Last {len(verdicts)} tests"
    return f"{tests}: {', '.join(counts)}; the newest {verdicts[-1]}"
