"""How a suite is run against an agent. Imports no Django: the private runner uses the same code.

The names below are what the rest of the system uses.
"""

from .contract import Detection, Engine, Limits, OnStep, Progress, Target
from .detect import detect_protocol
from .registry import UnknownEngine, get_engine
from .report import Evidence, Notice, Overall, Report, Scenario, Step, Track, Verdict
from .suites import SUITES, SuiteSpec, get_suite

__all__ = [
    "SUITES",
    "Detection",
    "Engine",
    "Evidence",
    "Limits",
    "Notice",
    "OnStep",
    "Overall",
    "Progress",
    "Report",
    "Scenario",
    "Step",
    "SuiteSpec",
    "Target",
    "Track",
    "UnknownEngine",
    "Verdict",
    "detect_protocol",
    "get_engine",
    "get_suite",
]
