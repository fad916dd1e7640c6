"""Engines by name. An engine is built once: it keeps warm what is slow to make.

Our own are named here; those of other packages are found by their entry points. An entry point that breaks
takes its own engine away and nothing else.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points

from .contract import Engine, Health
from .suites import SuiteSpec

log = logging.getLogger(__name__)

GROUP = "assay.engines"
_OWN = {
    "baseline": "baseline:BaselineEngine",
    "adcp": "adcp:AdcpEngine",
    "mcp-conformance": "mcp_conformance:ConformanceEngine",
}


class UnknownEngine(LookupError):
    """A suite version names an engine that this installation does not have."""


def _from_others() -> dict[str, EntryPoint]:
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=GROUP):
        if entry.name in _OWN or entry.name in found:
            log.error("The engine %r of %s is left out: the name is taken", entry.name, entry.value)
            continue
        found[entry.name] = entry
    return found


def engine_names() -> list[str]:
    """Every engine that this installation names, whether or not it can run here; our own first."""
    return [*_OWN, *sorted(_from_others())]


@cache
def get_engine(name: str) -> Engine:
    """The engine of that name. Raises UnknownEngine for one that is not installed or cannot be loaded."""
    own = _OWN.get(name)
    if own is not None:
        module, _, factory = own.partition(":")
        engine: Engine = getattr(import_module(f".{module}", __package__), factory)()
        return engine
    entry = _from_others().get(name)
    if entry is None:
        raise UnknownEngine(f"There is no engine called {name!r}")
    try:
        make: Callable[[], Engine] = entry.load()
        return make()
    except Exception as error:
        log.exception("The engine %r of %s cannot be loaded", name, entry.value)
        raise UnknownEngine(f"The engine {name!r} cannot be loaded: {type(error).__name__}") from error


def engine_health(name: str) -> Health:
    """Whether the engine can run on this machine; never raises."""
    try:
        return get_engine(name).health()
    except UnknownEngine as unknown:
        return Health(False, str(unknown))


def all_suites() -> list[SuiteSpec]:
    """Every suite of every engine that is available here."""
    return [suite for name in engine_names() if engine_health(name).available for suite in get_engine(name).suites()]
