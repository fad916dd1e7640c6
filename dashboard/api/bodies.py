"""Bodies as JSON, also those that are nested more deeply than can be read: so that who sent one can be told."""

from __future__ import annotations

import json
import re
from typing import Any

from django.http import HttpRequest
from ninja.parser import Parser

# More than any operation takes, so that what was cut is refused where it stands; less than the reader gives up at.
LEVELS = 400
LOOKED_INTO_KB = 2048  # of a body that is nested too deeply: looking into one costs more than reading it
# A string, also one without an end, or a bracket. No branch is tried twice: a hostile body costs no more than another.
_MARKS = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)


class BodyParser(Parser):
    """Reads a body; of one that is nested too deeply it reads what lies above, which says whose result it was."""

    def parse_body(self, request: HttpRequest) -> Any:
        try:
            return super().parse_body(request)
        except RecursionError:
            if len(request.body) > LOOKED_INTO_KB * 1024:
                raise
        text = request.body.decode(json.detect_encoding(request.body), "surrogatepass")
        return json.loads(without_depths(text))


def without_depths(text: str) -> str:
    """JSON with a short text in place of everything that lies below LEVELS. Raises ValueError where brackets lack."""
    kept, depth, begin = [], 0, 0
    for found in _MARKS.finditer(text):
        mark = text[found.start()]
        if mark in "[{":
            depth += 1
            if depth == LEVELS + 1:
                kept.append(text[begin : found.start()] + '"…"')
        elif mark in "]}":
            if depth == LEVELS + 1:
                begin = found.end()
            depth -= 1
    if depth > LEVELS:
        raise ValueError("brackets are not closed")
    return "".join([*kept, text[begin:]])
