"""Reads JSON bodies. One that is nested too deeply for Python is cut, so that its sender can be told what is wrong."""

from __future__ import annotations

import json
import re
from typing import Any

from django.http import HttpRequest
from ninja.parser import Parser

from dashboard.api.problems import of_status

# More than any operation takes, so that what was cut is refused where it stands; less than the JSON reader's limit.
LEVELS = 400
MAX_CUT_KB = 2048  # larger ones are refused: cutting a body costs more than reading it
# A string, also an unterminated one, or a bracket. Possessive: a hostile body costs no more than another.
_MARKS = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)


class BodyParser(Parser):
    def parse_body(self, request: HttpRequest) -> Any:
        if request.content_type != "application/json":
            raise of_status(415)
        try:
            return super().parse_body(request)
        except RecursionError:
            if len(request.body) > MAX_CUT_KB * 1024:
                raise
        text = request.body.decode(json.detect_encoding(request.body), "surrogatepass")
        return json.loads(cut_below_levels(text))


def cut_below_levels(text: str) -> str:
    """The JSON with “…” in place of everything below LEVELS. Raises ValueError if brackets are not closed."""
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
