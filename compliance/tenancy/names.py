"""Names that people give: one line of visible text."""

from __future__ import annotations

import unicodedata
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Model

from compliance.tenancy.errors import Invalid, Refused

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


def required_name(text: str, what: str) -> str:
    """The plain name, cut to 100 characters. Raises Invalid when nothing is left of it."""
    name = plain_name(text)[:100].strip()
    if not name:
        raise Invalid("name", f"Give the {what} a name.")
    return name


def save_named(row: Any, **options: Any) -> None:
    """Save a model with a name that is unique in its organization. Raises Refused when another one has it."""
    assert isinstance(row, Model)
    try:
        with transaction.atomic():
            row.save(**options)
    except IntegrityError:
        what = row._meta.verbose_name
        raise Refused(f"There is a {what} “{row}” already. Choose another name.") from None
