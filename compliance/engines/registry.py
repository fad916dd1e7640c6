"""Engines by name. An engine is built once: it keeps warm what is slow to make.

Our own are named here; those of other packages are found by their entry points. An entry point that breaks
takes its own engine away and nothing else.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points

from compliance.engines.catalog import SuiteSpec
from compliance.engines.contract import Engine, Health

log = logging.getLogger(__name__)

GROUP = "assay.engines"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,59}")
_HOW_NAMED = "a name is of lower-case letters, digits, dots, hyphens and underscores, at most 60"
_OWN = {
    "baseline": "suites.baseline.engine:BaselineEngine",
    "adcp": "suites.adcp:AdcpEngine",
    "mcp-conformance": "suites.mcp_conformance:ConformanceEngine",
    "a2a": "suites.a2a:A2AEngine",
    "a2a-tck": "suites.a2a.tck:TckEngine",
}


class UnknownEngine(LookupError):
    """A suite version names an engine that this installation does not have."""


def _from_others() -> dict[str, EntryPoint]:
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=GROUP):
        if entry.name in _OWN or entry.name in found:
            log.error("The engine %r of %s is left out: the name is taken", entry.name, entry.value)
            continue
        if not _NAME.fullmatch(entry.name):
            log.error("The engine %r of %s is left out: %s", entry.name, entry.value, _HOW_NAMED)
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
        engine = make()
        return _whole(engine, name)
    except (Exception, SystemExit) as error:
        log.exception("The engine %r of %s cannot be loaded", name, entry.value)
        raise UnknownEngine(f"The engine {name!r} cannot be loaded ({type(error).__name__}: {error})"[:300]) from error


def _whole(engine: Engine, name: str) -> Engine:
    """The engine, when it has what the contract asks for. Raises TypeError."""
    if engine.name != name or not isinstance(engine.version, str) or not isinstance(engine.memory_mb, int):
        raise TypeError("its name, version or memory_mb is not what the contract asks for")
    if not all(callable(getattr(engine, method, None)) for method in ("suites", "health", "run")):
        raise TypeError("it lacks suites, health or run")
    return engine


def engine_health(name: str) -> Health:
    """Whether the engine can run on this machine; never raises."""
    try:
        health = get_engine(name).health()
    except UnknownEngine as unknown:
        return Health(False, str(unknown))
    except Exception as error:  # noqa: BLE001
        # Whoever wrote it: an engine that cannot say how it is takes itself away, and nothing else.
        log.error("The engine %r cannot say whether it is available: %s", name, type(error).__name__)
        return Health(False, f"The engine {name!r} cannot say whether it is available: {type(error).__name__}")
    if isinstance(health, Health):
        return health
    return Health(False, f"The engine {name!r} does not say whether it is available")


def suites_of(name: str) -> list[SuiteSpec]:
    """The suites that the engine carries, in its own name; none when it is not available. Never raises.

    What is no suite, or says that another engine runs it, is left out.
    """
    if not engine_health(name).available:
        return []
    try:
        listed = list(get_engine(name).suites())
    except Exception as error:  # noqa: BLE001
        log.error("The engine %r cannot list its suites: %s", name, type(error).__name__)
        return []
    kept = [suite for suite in listed if isinstance(suite, SuiteSpec) and suite.engine == name]
    if len(kept) < len(listed):
        log.error("The engine %r lists %s suites that are not its own", name, len(listed) - len(kept))
    return kept


def all_suites() -> list[SuiteSpec]:
    """Every suite of every engine that is available here, those of our own engines first."""
    return [suite for name in engine_names() for suite in suites_of(name)]


def is_own(name: str) -> bool:
    """Whether the engine is part of this program, and not of another package."""
    return name in _OWN
