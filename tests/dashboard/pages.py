"""What a browser makes of a page's blanks, so that a test need not know how a template is laid out."""

from __future__ import annotations

import re

from django.http import HttpResponse

_BLOCK = (
    "article|aside|body|button|dd|details|dialog|div|dl|dt|fieldset|footer|form|h1|h2|h3|header|label|legend|li|main|"
    "nav|noscript|ol|option|p|section|select|summary|table|tbody|td|th|thead|tr|ul"
)
_EDGES = re.compile(rf"(<(?:{_BLOCK})\b[^>]*>) | (</(?:{_BLOCK})>)")


def markup(response: HttpResponse) -> str:
    """The page as one line: each run of blanks is one, and none where HTML ignores it."""
    page = re.sub(r"\s+", " ", response.content.decode()).replace(" >", ">").replace("> <", "><")
    return _EDGES.sub(lambda found: found[1] or found[2], page).strip()
