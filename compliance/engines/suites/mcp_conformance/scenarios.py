"""The official server scenarios, as this engine offers them: what each needs, and which suite it is in."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from compliance.engines.catalog import CONNECTIVITY, SCENARIOS_OPTION, ScenarioSpec, StepSpec, SuiteSpec, TrackSpec

SPEC_VERSION = "2025-11-25"  # of the scenarios of the runner's release that is pinned


@dataclass(frozen=True, slots=True)
class Official:
    """One scenario of the official runner."""

    key: str  # the runner's own name for it
    title: str
    track: str
    capability: str = ""  # what a server must declare for it, "a.b" for a part of one; "" for every server
    fixture: tuple[str, str] = ("", "")  # kind ("tool", "resource", "prompt") and name of what it asks for
    local_only: bool = False  # means something for addresses on this machine alone
    checks: tuple[StepSpec, ...] = ()  # those that it makes when nothing stops it early


_DATA = tomllib.loads(Path(__file__).with_name("scenarios.toml").read_text("utf-8"))
SCENARIOS: tuple[Official, ...] = TypeAdapter(tuple[Official, ...]).validate_python(_DATA["scenarios"])
SECURITY = TypeAdapter(TrackSpec).validate_python(_DATA["security"])


def _tracks(chosen: tuple[Official, ...]) -> tuple[TrackSpec, ...]:
    tracks = []
    for key, title in _DATA["tracks"].items():
        scenarios = tuple(ScenarioSpec(s.key, s.title, s.checks, "mcp") for s in chosen if s.track == key)
        if scenarios:
            tracks.append(TrackSpec(key, title, scenarios))
    return tuple(tracks)


DECLARED_SCENARIOS = tuple(s for s in SCENARIOS if s.fixture == ("", ""))
DECLARED = SuiteSpec(
    slug="mcp-conformance",
    version="1",
    title="MCP conformance: declared capabilities",
    description=(
        "The official conformance scenarios that hold for every MCP server: opening a session, ping, and the listings "
        "and settings of what the server declares. What it does not declare does not apply to it."
    ),
    engine="mcp-conformance",
    protocols=("mcp",),
    tracks=(CONNECTIVITY, *_tracks(DECLARED_SCENARIOS), SECURITY),
    options=(SCENARIOS_OPTION,),
)
FIXTURE = SuiteSpec(
    slug="mcp-conformance-sdk",
    version="1",
    title="MCP conformance: SDK fixture",
    description=(
        "All official conformance scenarios. Most of them call tools, read resources and get prompts that only the "
        "test servers of MCP SDKs have: for SDK authors. Its runs never move the status of an agent."
    ),
    engine="mcp-conformance",
    protocols=("mcp",),
    tracks=(CONNECTIVITY, *_tracks(SCENARIOS), SECURITY),
    options=(SCENARIOS_OPTION,),
    full=False,
    requires={
        kind + "s": sorted({s.fixture[1] for s in SCENARIOS if s.fixture[0] == kind})
        for kind in ("tool", "resource", "prompt")
    },
)
SUITES = (DECLARED, FIXTURE)
BY_SUITE = {DECLARED.slug: DECLARED_SCENARIOS, FIXTURE.slug: SCENARIOS}
# What is checked before the runner starts; the run's own record of it is the module `discover`.
OPENING = SuiteSpec("mcp-conformance-opening", "1", "", "", "mcp-conformance", ("mcp",), (CONNECTIVITY, SECURITY))


def begun_at(first: str, keys: list[str]) -> list[str]:
    """The scenarios from this one on, and then those before it; as they are when it is not among them."""
    at = keys.index(first) if first in keys else 0
    return keys[at:] + keys[:at]
