"""The written pages of docs/ that readers of the dashboard need, as HTML. Only files of ours, and only these."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath

from django.conf import settings
from django.urls import reverse
from django.utils.safestring import SafeString  # noqa: TID251 - the guides are ours, rendered with HTML switched off
from markdown_it import MarkdownIt
from markdown_it.token import Token

NAMES = ("runners", "api", "webhooks", "engines", "engines-official", "engines-a2a", "security")
FOLDER = settings.BASE_DIR / "docs"
_ELSEWHERE = {"report-1.json": "report_schema", "openapi.json": "api:openapi-json"}  # files that have addresses here


@dataclass(frozen=True, slots=True)
class Guide:
    name: str
    title: str
    summary: str  # its first sentence
    sections: tuple[tuple[str, str], ...]  # anchor and words of each heading of the second level
    body: SafeString  # without the title


def source(name: str) -> str:
    """One of NAMES as it is written. Raises FileNotFoundError where docs/ was not installed."""
    return (FOLDER / f"{name}.md").read_text()


@lru_cache(maxsize=len(NAMES))
def guide(name: str) -> Guide:
    """One of NAMES. Raises FileNotFoundError where docs/ was not installed."""
    tokens = _READER.parse(source(name))
    title, summary, sections, seen = "", "", [], dict[str, int]()
    for place, token in enumerate(tokens):
        if token.type == "inline":
            token.children = _with_links_that_lead_somewhere(token.children or [])
        if token.type == "paragraph_open" and not summary:
            summary = _first_sentence(_words(tokens[place + 1].children or []))
        if token.type != "heading_open":
            continue
        words = _words(tokens[place + 1].children or [])
        anchor = _anchor(words, seen)
        token.attrSet("id", anchor)
        if token.tag == "h1":
            title = words
        elif token.tag == "h2":
            sections.append((anchor, words))
    body = [token for place, token in enumerate(tokens) if not _is_title(tokens, place)]
    # Written by ourselves, and rendered with HTML switched off: what looks like a tag is text.
    return Guide(name, title, summary, tuple(sections), SafeString(_READER.renderer.render(body, _READER.options, {})))


def _is_title(tokens: Sequence[Token], place: int) -> bool:
    return any(tokens[at].tag == "h1" for at in (place, place - 1) if at >= 0)


def _words(children: Sequence[Token]) -> str:
    return "".join(child.content for child in children if child.type in ("text", "code_inline"))


def _first_sentence(words: str) -> str:
    sentence, ended, _ = words.partition(". ")
    return sentence + ended.strip()


def _anchor(words: str, seen: dict[str, int]) -> str:
    """As the places make them where these pages are read too, so that one link serves both."""
    anchor = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
    count = seen.get(anchor, 0)
    seen[anchor] = count + 1
    return f"{anchor}-{count}" if count else anchor


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
        if token.type == "link_close":
            dead = False
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


def _open_table(*_: object) -> str:
    return '<div class="table-card mb-3"><table class="table">\n'


def _close_table(*_: object) -> str:
    return "</table></div>\n"


def _reader() -> MarkdownIt:
    reader = MarkdownIt("commonmark", {"html": False}).enable("table")
    reader.add_render_rule("table_open", _open_table)
    reader.add_render_rule("table_close", _close_table)
    return reader


_READER = _reader()
