"""Engines by name. An engine is built once: it keeps warm what is slow to make."""

from __future__ import annotations

from functools import cache

from .baseline import BaselineEngine
from .contract import Engine

ENGINES: dict[str, type[Engine]] = {"baseline": BaselineEngine}


class UnknownEngine(LookupError):
    """A suite version names an engine that this installation does not have."""


@cache
def get_engine(name: str) -> Engine:
    try:
        return ENGINES[name]()
    except KeyError:
        raise UnknownEngine(f"There is no engine called {name!r}") from None
