"""How a suite is run against an agent. Imports no Django: the private runner uses the same code.

The names below are what the rest of the system uses. Those that need the protocols' SDKs, which take
seconds to import, are loaded on first use: web processes and commands never need them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from compliance.engines.catalog import SUITES, SuiteSpec, get_suite
from compliance.engines.contract import Credential, Detection, Engine, Health, Limits, OnStep, Progress, Target
from compliance.engines.reports.model import Evidence, Notice, Overall, Report, Scenario, Step, Track, Verdict

if TYPE_CHECKING:
    from compliance.engines.detection import detect_protocol
    from compliance.engines.registry import (
        UnknownEngine,
        all_suites,
        engine_health,
        engine_names,
        get_engine,
        is_own,
        suites_of,
    )

_HEAVY = {
    "detect_protocol": "detection",
    **dict.fromkeys(
        ("UnknownEngine", "all_suites", "engine_health", "engine_names", "get_engine", "is_own", "suites_of"),
        "registry",
    ),
}

__all__ = [
    "SUITES", "Credential", "Detection", "Engine", "Evidence", "Health", "Limits", "Notice", "OnStep", "Overall",
    "Progress", "Report", "Scenario", "Step", "SuiteSpec", "Target", "Track", "UnknownEngine", "Verdict", "all_suites",
    "detect_protocol", "engine_health", "engine_names", "get_engine", "get_suite", "is_own", "suites_of",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HEAVY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_HEAVY[name]}", __name__), name)
