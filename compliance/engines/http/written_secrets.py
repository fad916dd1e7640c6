"""A secret in the encodings in which an agent may send it back, and finding it in a text (V1)."""

from __future__ import annotations

import base64
import html
import json
import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from urllib.parse import quote

_SHORTEST = 8  # characters of base64 and of hexadecimal digits: shorter ones turn up by chance
_OPENING = 4  # characters: that many are looked for at once
_TELLING = 4  # characters: so much of a secret's beginning is hidden where a text was cut in the middle of one
_COLUMNS = (64, 76)  # of lines of base64: PEM and MIME
_URL_SAFE = str.maketrans("+/", "-_")
_ESCAPE = re.compile("%[0-9A-F]{2}")
# What encodeURIComponent and encodeURI of JavaScript leave as it is, beside what Python does.
_SAFE = ("", "/", "!'()*", ";,/?:@&=+$!'()*#")
# The end of a line, in the midst of base64: as it is, and as JSON, an address and HTML write it.
_BREAKS = re.compile(
    r"(?:\r?\n[ \t]*)+|(?:\\{1,4}[rn])+|(?:\\{1,2}u000[ad])+|(?:%(?:25)?0[AaDd])+|(?:&#(?:1[03]|x[ad]);)+",
    re.IGNORECASE,
)
_ENDS = (
    "\r", "\n", "\\\\r", "\\\\n", "\\r", "\\n", "\\\\u000a", "\\\\u000d", "\\u000a", "\\u000d", "\\u000A", "\\u000D",
    "%0A", "%0a", "%0D", "%0d", "%250A", "%250D", "&#10;", "&#13;", "&#xa;", "&#xd;",
)  # fmt: skip


class _Table(dict[int, str]):
    """An encoding that writes each character for itself, as str.translate takes it: that is many times faster."""

    def __init__(self, encode: Callable[[str], str]) -> None:
        super().__init__()
        self._encode = encode

    def __missing__(self, code: int) -> str:
        self[code] = encoded = self._encode(chr(code))
        return encoded


def _percent(safe: str) -> Iterator[Callable[[str], str]]:
    yield lambda char: quote(char.encode("utf-8", "replace"), safe=safe)
    yield lambda char: _ESCAPE.sub(lambda found: found[0].lower(), quote(char.encode("utf-8", "replace"), safe=safe))


def _units(char: str) -> str:
    units = char.encode("utf-16-be", "replace").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


_TABLES = [
    _Table(encode)
    for encode in (
        *(encode for safe in _SAFE for encode in _percent(safe)),
        lambda char: "+" if char == " " else quote(char.encode("utf-8", "replace"), safe=""),
        # JSON, with and without escaped slashes, and all in numbers
        lambda char: json.dumps(char)[1:-1],
        lambda char: json.dumps(char)[1:-1].replace("/", "\\/"),
        lambda char: json.dumps(char, ensure_ascii=False)[1:-1],
        lambda char: json.dumps(char, ensure_ascii=False)[1:-1].replace("/", "\\/"),
        _units,
        lambda char: _units(char).upper().replace("\\U", "\\u"),
        # HTML
        lambda char: html.escape(char, quote=False),
        html.escape,
        lambda char: html.escape(char).replace("&#x27;", "&#39;"),
        lambda char: html.escape(char).replace("&#x27;", "&apos;"),
        lambda char: f"&#{ord(char)};",
        lambda char: f"&#x{ord(char):x};",
    )
]


def _by_character(text: str) -> Iterator[str]:
    for table in _TABLES:
        yield text.translate(table)


def _hexadecimal(text: str) -> Iterator[str]:
    encoded = text.encode("utf-8", "replace").hex()
    if len(encoded) >= _SHORTEST:
        yield encoded
        yield encoded.upper()


def _base64(text: str) -> Iterator[str]:
    """In the midst of other text: depends on where it begins, and on what stands beside it at its edges."""
    raw = text.encode("utf-8", "replace")
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + raw).decode().rstrip("=")
        inner = encoded[(0, 2, 3)[before] : len(encoded) if (before + len(raw)) % 3 == 0 else -1]
        if len(inner) >= _SHORTEST:
            yield inner
            yield inner.translate(_URL_SAFE)


def _wrapped(text: str) -> Iterator[str]:
    """Base64 in lines, by itself: what is wrapped only in the end is found in one line."""
    encoded = base64.b64encode(text.encode("utf-8", "replace")).decode().rstrip("=")
    for columns in _COLUMNS:
        if len(encoded) > columns:
            lines = [encoded[at : at + columns] for at in range(0, len(encoded), columns)]
            yield "\n".join(lines)
            yield "\r\n".join(lines)


_ENCODINGS: tuple[Callable[[str], Iterator[str]], ...] = (_by_character, _hexadecimal, _base64, _wrapped)


def written(secret: str) -> set[str]:
    """A secret as it is, in each encoding, and in each encoding of each encoding."""
    once = {form for encode in _ENCODINGS for form in encode(secret)}
    twice = {form for inner in once for encode in _ENCODINGS for form in encode(inner)}
    return {form for form in {secret} | once | twice if form}


class SecretFinder:
    """Finds secrets however they are written."""

    def __init__(self, secrets: Iterable[str | None]) -> None:
        self._forms: dict[str, list[str]] = defaultdict(list)  # by how they begin, longest first
        self._closing: set[str] = set()
        forms: set[str] = set()
        known = {secret for secret in secrets if secret}
        for secret in known:
            # What holds another, as "Bearer x" does, is found by that one's encodings; and its own beginning is none.
            holds_another = any(other in secret for other in known - {secret})
            found = {secret} if holds_another else written(secret)
            forms |= found
            self._closing |= set() if " " in secret else found
        length = min([_OPENING, *map(len, forms)])
        for form in sorted(forms, key=len, reverse=True):
            self._forms[form[:length]].append(form)
        self._pattern = re.compile(_alternatives(self._forms)) if forms else None
        self._longest = max(map(len, forms), default=0)

    def replace(self, text: str, mark: str) -> str:
        """The text with a mark in place of each secret."""
        if self._pattern is None:
            return text
        spans = list(self._spans(text))
        # Whether there is a secret across lines is found out in a tenth of the time that it takes to say where.
        squeezed = text
        for ending in _ENDS:
            squeezed = squeezed.replace(ending, "")
        if len(squeezed) < len(text) and next(self._spans(squeezed), None):
            spans = sorted([*spans, *self._spans_across_lines(text)])
        parts: list[str] = []
        end = 0
        for start, stop in spans:
            if start >= end:
                parts += [text[end:start], mark]
            end = max(end, stop)
        return "".join((*parts, text[end:])) if spans else text

    def _spans(self, text: str) -> Iterator[tuple[int, int]]:
        at = 0
        while (found := self._pattern.search(text, at) if self._pattern else None) is not None:
            start = found.start()
            form = next((form for form in self._forms[found[0]] if text.startswith(form, start)), None)
            at = start + (len(form) if form else 1)
            if form:
                yield start, at

    def _spans_across_lines(self, text: str) -> Iterator[tuple[int, int]]:
        """Where secrets are in the text without its ends of lines, as places in the text as it is."""
        breaks = [found.span() for found in _BREAKS.finditer(text)]
        removed = list(accumulate(stop - start for start, stop in breaks))
        places = [start - gone for (start, _), gone in zip(breaks, [0, *removed], strict=False)]

        def place(at: int) -> int:
            index = bisect_right(places, at)
            return at + (removed[index - 1] if index else 0)

        for start, stop in self._spans(_BREAKS.sub("", text)):
            yield place(start), place(stop - 1) + 1

    def cut_short_at(self, text: str) -> int:
        """Where the beginning of a secret is that the end of a text may be; the text's length when it is none."""
        at = max(0, len(text) - self._longest)
        while (found := self._pattern.search(text, at) if self._pattern else None) is not None:
            at = found.start()
            end = text[at:]
            if len(end) < _TELLING:
                break
            if any(len(form) > len(end) and form.startswith(end) for form in self._closing & {*self._forms[found[0]]}):
                return at
            at += 1
        return len(text)


def _alternatives(words: Iterable[str]) -> str:
    """A regular expression for words of one length, which shares their beginnings."""
    by_first: dict[str, list[str]] = defaultdict(list)
    for word in words:
        by_first[word[0]].append(word[1:])
    if not any(rest for rests in by_first.values() for rest in rests):
        return "[" + "".join(map(re.escape, sorted(by_first))) + "]"
    return "(?:" + "|".join(re.escape(first) + _alternatives(rests) for first, rests in sorted(by_first.items())) + ")"
