"""The written pages of docs/ that readers of the dashboard need, as HTML. Only files of ours, and only these."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import PurePosixPath

from django.conf import settings
from django.urls import reverse
from markdown_it import MarkdownIt
from markdown_it.token import Token

NAMES = ("runners", "api", "webhooks", "engines", "engines-official", "engines-a2a", "security")
FOLDER = settings.BASE_DIR / "docs"
_ELSEWHERE = {"report-1.json": "report_schema", "openapi.json": "api:openapi-json"}  # files that have addresses here

# With HTML switched off: what looks like a tag is text.
_READER = MarkdownIt("commonmark", {"html": False}).enable("table")
_READER.add_render_rule("table_open", lambda *_: '<div class="table-card mb-3"><table class="table">\n')
_READER.add_render_rule("table_close", lambda *_: "</table></div>\n")


@dataclass(frozen=True, slots=True)
class Guide:
    name: str
    title: str
    summary: str  # its first sentence
    sections: tuple[tuple[str, str], ...]  # anchor and words of each heading of the second level
    tokens: Sequence[Token]  # without the title

    @property
    def body(self) -> str:
        """As HTML, safe to be shown as it is."""
        html: str = _READER.renderer.render(self.tokens, _READER.options, {})
        return html


def source(name: str) -> str:
    """One of NAMES as it is written. Raises FileNotFoundError where docs/ was not installed."""
    return (FOLDER / f"{name}.md").read_text()


@cache
def guide(name: str) -> Guide:
    """One of NAMES. Raises FileNotFoundError where docs/ was not installed."""
    tokens = _READER.parse(source(name))
    title, summary, sections, seen = "", "", [], Counter[str]()
    for token, inline in pairwise(tokens):
        if inline.type == "inline":
            inline.children = _with_links_that_lead_somewhere(inline.children or [])
        words = _words(inline)
        if token.type == "paragraph_open" and not summary:
            sentence, end, _ = words.partition(". ")
            summary = sentence + end.strip()
        elif token.tag == "h1" and token.nesting == 1:
            title = words
        elif token.type == "heading_open":
            anchor = _anchor(words, seen)
            token.attrSet("id", anchor)
            if token.tag == "h2":
                sections.append((anchor, words))
    end_of_title = next(index for index, token in enumerate(tokens) if token.type == "heading_close") + 1
    return Guide(name, title, summary, tuple(sections), tokens[end_of_title:])


def _words(token: Token) -> str:
    return "".join(child.content for child in token.children or [] if child.type in ("text", "code_inline"))


def _anchor(words: str, seen: Counter[str]) -> str:
    """As the sites that show these files make them, so that one link serves both."""
    anchor = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
    seen[anchor] += 1
    return f"{anchor}-{seen[anchor] - 1}" if seen[anchor] > 1 else anchor


def _with_links_that_lead_somewhere(children: list[Token]) -> list[Token]:
    """Links to what is not served from here become their words."""
    kept, dead = [], False
    for token in children:
        if token.type == "link_open":
            address = _address(str(token.attrGet("href") or ""))
            dead = not address
            token.attrSet("href", address)
        if token.type not in ("link_open", "link_close") or not dead:
            kept.append(token)
    return kept


def _address(href: str) -> str:
    """Where a link of a page leads to here; "" for nowhere."""
    if href.startswith(("#", "https://", "http://")):
        return href
    path, hash_sign, anchor = href.partition("#")
    file = PurePosixPath(path)
    if file.suffix == ".md" and file.parent == PurePosixPath() and file.stem in NAMES:
        return reverse("guide", args=[file.stem]) + hash_sign + anchor
    return reverse(_ELSEWHERE[file.name]) if file.name in _ELSEWHERE else ""
