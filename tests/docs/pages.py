"""The written pages of the project, as text."""

from __future__ import annotations

import re
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
NOT_OURS = {".venv", ".git", ".data", "staticfiles", "node_modules"}


def pages() -> list[Path]:
    return sorted(path for path in PROJECT.rglob("*.md") if not NOT_OURS.intersection(path.relative_to(PROJECT).parts))


def prose(path: Path) -> str:
    """The page without its code blocks."""
    return re.sub(r"^```.*?^```", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)


def code(path: Path) -> str:
    """The page's code blocks and inline code."""
    text = path.read_text()
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    return "\n".join([*blocks, *re.findall(r"`([^`\n]+)`", prose(path))])


def anchors(path: Path) -> set[str]:
    """The names under which a page's headings can be linked to."""
    headings = re.findall(r"^#+ (.+)$", prose(path), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
