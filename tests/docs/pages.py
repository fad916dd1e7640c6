"""The written pages of the project, as text."""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]


@cache
def pages() -> list[Path]:
    """Every Markdown page, apart from what lies in hidden folders: environments, data, caches."""
    found = []
    for folder, below, files in os.walk(PROJECT):
        below[:] = [name for name in below if not name.startswith(".") and name != "staticfiles"]
        found += [Path(folder) / name for name in files if name.endswith(".md")]
    return sorted(found)


def prose(path: Path) -> str:
    """The page without its code blocks."""
    return re.sub(r"^ *```.*?^ *```", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)


def code(path: Path) -> str:
    """The page's code blocks and inline code."""
    text = path.read_text()
    blocks = re.findall(r"^ *```\w*\n(.*?)^ *```", text, flags=re.MULTILINE | re.DOTALL)
    return "\n".join([*blocks, *re.findall(r"`([^`\n]+)`", prose(path))])


def anchors(path: Path) -> set[str]:
    """The names under which a page's headings can be linked to."""
    headings = re.findall(r"^#+ (.+)$", prose(path), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
