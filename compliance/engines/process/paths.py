"""Where on this machine software lies that engines start and that no package index has.

Set once at the start, by whoever reads the settings; engines only ask.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

_paths: dict[str, Path] = {}


def use_paths(paths: Mapping[str, str]) -> None:
    """Engine name to folder; an empty one means that there is none."""
    _paths.clear()
    _paths.update({name: Path(path) for name, path in paths.items() if path})


def path_of(engine: str) -> Path | None:
    """The folder that the operator named for an engine; None when none was named."""
    return _paths.get(engine)
