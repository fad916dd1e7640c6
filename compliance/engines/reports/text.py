"""Foreign text that PostgreSQL can keep: without NUL, lone surrogates, NaN, Infinity and bottomless nesting.

What agents and runners send is cleaned where it enters. What cannot be kept is replaced by a visible mark.
"""

from __future__ import annotations

import json
import math
from typing import Any

_LEVELS = 260  # more than a report may have; each takes two calls, of a thousand that there can be


def storable(value: Any) -> Any:
    """The JSON value as the database can keep it."""
    # Nearly everything can be kept, and the compiled encoder finds that out much faster than a walk.
    try:
        return value if is_storable(json.dumps(value)) else mended(value)
    except (ValueError, RecursionError):
        return mended(value)


def is_storable(encoded: str) -> bool:
    """Whether JSON text, as json.dumps writes it, is free of NUL, NaN, Infinity and what may be a lone surrogate."""
    strange = "\\u" in encoded and ("\\u0000" in encoded or "\\ud" in encoded)
    return not (strange or "NaN" in encoded or "Infinity" in encoded)


def storable_text(value: Any) -> Any:
    """The same for one text; what is not text is left to others."""
    if not isinstance(value, str) or (value.isascii() and "\x00" not in value):
        return value
    return value.replace("\x00", "\N{SYMBOL FOR NULL}").encode("utf-8", "replace").decode("utf-8")


def mended(value: Any, level: int = 0) -> Any:
    """The JSON value with a mark in place of each part that cannot be kept."""
    if isinstance(value, str):
        return storable_text(value)
    if isinstance(value, dict | list | tuple) and level >= _LEVELS:
        return "[deeper levels left out]"
    if isinstance(value, dict):
        return {storable_text(str(key)): mended(item, level + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [mended(item, level + 1) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def is_deeper(value: Any, levels: int) -> bool:
    """Whether lists and objects are nested deeper than so many levels."""
    layer = [value]
    for _ in range(levels):
        layer = [
            inner
            for outer in layer
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list | tuple)
        ]
        if not layer:
            return False
    return True
