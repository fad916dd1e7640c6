"""Names that people give: one line of visible text."""

from __future__ import annotations

import unicodedata

_JOINERS = "\u200c\u200d"  # format characters too, but some scripts are misspelt without them


def plain_name(text: str) -> str:
    """The text without control and format characters, which hide or turn what stands beside them; spaces folded."""
    kept = []
    for character in text:
        category = unicodedata.category(character)
        if category in ("Cc", "Zl", "Zp"):
            kept.append(" ")
        elif category != "Cf" or character in _JOINERS:
            kept.append(character)
    return " ".join("".join(kept).split())
