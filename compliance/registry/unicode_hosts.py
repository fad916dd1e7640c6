"""Host names in Unicode, for people. Agents are known by the ASCII spelling, which begins such labels with "xn--"."""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from urllib.parse import urlsplit

import idna

_ACE = "xn--"
# The words that letters' names begin with, for the languages that are written in several scripts.
_WRITTEN_TOGETHER = (
    frozenset({"CJK", "IDEOGRAPHIC", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA"}),
    frozenset({"CJK", "HANGUL"}),
    frozenset({"CJK", "IDEOGRAPHIC", "BOPOMOFO"}),
)
# Cyrillic and Greek letters that are drawn as Latin ones: a label of nothing else can pass for a Latin word.
_LATIN_LOOKALIKES = frozenset("асԁеһіјӏорԛѕԝхуѵгпь" + "αικνορτυχω")


def in_unicode(agent_url: str) -> str:
    """The address with its host name in Unicode. Whether it can be mistaken for another, readable() considers."""
    return _with_labels(agent_url, careful=False)


def readable(agent_url: str) -> str:
    """The address as people read it: labels in Unicode, but those that can pass for another stay as they are.

    These are labels that mix scripts, and those made of letters that look Latin alone.
    """
    return _with_labels(agent_url, careful=True)


def is_found_by(text: str, agent_url: str) -> bool:
    """Whether the text is a part of the address in Unicode, in any case and composition of its letters."""
    return _folded(text) in _folded(in_unicode(agent_url))


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def _with_labels(agent_url: str, *, careful: bool) -> str:
    if _ACE not in agent_url:
        return agent_url
    netloc = urlsplit(agent_url).netloc
    labels = [_label(label, careful) for label in netloc.split(".")]
    return agent_url.replace(netloc, ".".join(labels), 1)


@lru_cache(maxsize=4096)
def _label(label: str, careful: bool) -> str:
    """A label of a host, the last of which may have a port behind it."""
    name, colon, port = label.partition(":")
    if not name.startswith(_ACE):
        return label
    try:
        decoded = idna.decode(name)
    except (idna.IDNAError, UnicodeError):
        return label
    return label if careful and _can_mislead(decoded) else f"{decoded}{colon}{port}"


def _can_mislead(label: str) -> bool:
    letters = [character for character in label if unicodedata.category(character).startswith("L")]
    scripts = {unicodedata.name(letter, "?").split(" ", 1)[0] for letter in letters}
    mixed = len(scripts) > 1 and not any(scripts <= together for together in _WRITTEN_TOGETHER)
    return mixed or _LATIN_LOOKALIKES.issuperset(letters)
