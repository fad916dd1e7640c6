"""The suites that ship with the engines, as data: what runs, in which order, and what each rule asks for.

The engine takes titles, expectations and references from here, so that what a page shows before a
run and what a report says after it are the same words.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter


@dataclass(frozen=True, slots=True)
class StepSpec:
    key: str
    title: str
    expected: str
    spec_url: str = ""


@dataclass(frozen=True, slots=True)
class RuledStepSpec(StepSpec):
    """A step for a rule that has an identifier of its own. Not a field of every step: published suites never change."""

    requirement: str = ""


@dataclass(frozen=True, slots=True)
class ScenarioSpec:
    key: str
    title: str
    steps: tuple[StepSpec, ...]  # those known beforehand; listings add one for each tool
    protocol: str = ""  # "" runs whatever the protocol


@dataclass(frozen=True, slots=True)
class TrackSpec:
    key: str
    title: str
    scenarios: tuple[ScenarioSpec, ...]


@dataclass(frozen=True, slots=True)
class OptionSpec:
    key: str
    title: str
    default: Any
    description: str


@dataclass(frozen=True, slots=True)
class SuiteSpec:
    slug: str
    version: str
    title: str
    description: str
    engine: str
    protocols: tuple[str, ...]
    tracks: tuple[TrackSpec, ...]
    options: tuple[OptionSpec, ...] = ()
    full: bool = True  # False: a part of another suite, whose runs never move a status (R10)
    requires: dict[str, Any] = field(default_factory=dict)  # tools and capabilities that an agent must have, for people

    def for_protocol(self, protocol: str) -> tuple[TrackSpec, ...]:
        """The tracks that apply to agents of one protocol; with "" only what holds for all."""
        tracks = []
        for track in self.tracks:
            scenarios = tuple(s for s in track.scenarios if s.protocol in ("", protocol))
            if scenarios:
                tracks.append(TrackSpec(track.key, track.title, scenarios))
        return tuple(tracks)

    def scenario_keys(self) -> list[str]:
        return [scenario.key for track in self.tracks for scenario in track.scenarios]


_BASELINE = Path(__file__).parent / "suites" / "baseline" / "suite.toml"
BASELINE: SuiteSpec = TypeAdapter(SuiteSpec).validate_python(tomllib.loads(_BASELINE.read_text("utf-8")))
CONNECTIVITY = BASELINE.tracks[0]  # which every suite begins with
SCENARIOS_OPTION = next(option for option in BASELINE.options if option.key == "scenarios")

SUITES: tuple[SuiteSpec, ...] = (BASELINE,)


def get_suite(slug: str) -> SuiteSpec:
    for suite in SUITES:
        if suite.slug == slug:
            return suite
    raise LookupError(f"There is no suite called {slug!r}")
