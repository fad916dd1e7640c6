"""A run's report as its page shows it: failures first, every verdict by its own name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from compliance.engines.reports.model import NOT_ACCEPTED
from compliance.models import ComplianceRun, TriggeredBy
from compliance.registry.models import ExecutorKind
from compliance.runs.comparison import Flakiness, StepId
from compliance.runs.models import OverallStatus
from dashboard.common.verdicts import WORDS

# Inside a report: what needs the reader's eye comes first, otherwise as it ran.
_ORDER = {"failed": 0, "not_tested": 1}
LONG = 40  # so many scenarios are more than one looks through: the page folds what did not fail
OPENED = 8  # so many failing scenarios are shown open at once; the rest are a press away


@dataclass(frozen=True, slots=True)
class StepShown:
    index: int  # the step's place in the report; evidence is kept under it
    anchor: str
    key: str
    title: str
    verdict: str
    expected: str
    actual: str
    spec_url: str
    duration_ms: int
    has_evidence: bool
    requirement: str
    flaky: Flakiness | None


@dataclass(frozen=True, slots=True)
class ScenarioShown:
    key: str
    title: str
    steps: list[StepShown]
    summary: str
    is_open: bool = False

    @property
    def fails(self) -> bool:
        return any(step.verdict == "failed" for step in self.steps)


@dataclass(frozen=True, slots=True)
class TrackShown:
    title: str
    scenarios: list[ScenarioShown]  # to be seen at once
    folded: list[ScenarioShown]  # in which nothing failed, when a run is long
    summary: str

    @property
    def failed(self) -> int:
        """How many steps failed."""
        return sum(step.verdict == "failed" for scenario in self.scenarios for step in scenario.steps)

    @property
    def fails(self) -> bool:
        return any(scenario.fails for scenario in self.scenarios)


def tracks_of(
    run: ComplianceRun, with_evidence: set[int], flaky: Mapping[StepId, Flakiness] | None = None
) -> list[TrackShown]:
    """The run's tracks, those with failures first; inside them the same for scenarios and steps.

    with_evidence: the indexes of the steps whose evidence the reader may open.
    """
    flaky = flaky or {}
    index = 0
    is_long = sum(len(track["scenarios"]) for track in run.tracks_json) > LONG
    tracks = []
    for track in run.tracks_json:
        scenarios = []
        for scenario in track["scenarios"]:
            steps = []
            for step in scenario["steps"]:
                known_as_flaky = flaky.get(StepId(scenario["key"], step["key"]))
                steps.append(_shown(step, scenario["key"], index, index in with_evidence, known_as_flaky))
                index += 1
            steps.sort(key=lambda step: _ORDER.get(step.verdict, 2))
            scenarios.append(ScenarioShown(scenario["key"], scenario["title"], steps, _counted(steps)))
        every = [step for scenario in scenarios for step in scenario.steps]
        failing = [scenario for scenario in scenarios if scenario.fails]
        others = [scenario for scenario in scenarios if not scenario.fails]
        shown, folded = (failing, others) if is_long else (failing + others, [])
        tracks.append(TrackShown(track["title"], shown, folded, _counted(every)))
    tracks.sort(key=lambda track: not track.fails)
    return _opened(tracks, and_the_first=run.overall_status != OverallStatus.PASSING)


def _counted(steps: list[StepShown]) -> str:
    counts = Counter(step.verdict for step in steps)
    return ", ".join(f"{counts[verdict]} {words.lower()}" for verdict, words in WORDS.items() if counts[verdict])


def _opened(tracks: list[TrackShown], *, and_the_first: bool) -> list[TrackShown]:
    """The same tracks, with the first failing scenarios open, and if asked for the first of all."""
    left = OPENED
    opened: list[TrackShown] = []
    for track in tracks:
        scenarios: list[ScenarioShown] = []
        for scenario in track.scenarios:
            is_first = not opened and not scenarios
            is_open = (scenario.fails and left > 0) or (is_first and and_the_first)
            scenarios.append(replace(scenario, is_open=is_open))
            left -= scenario.fails
        opened.append(replace(track, scenarios=scenarios))
    return opened


def _shown(
    step: dict[str, Any], scenario_key: str, index: int, has_evidence: bool, flaky: Flakiness | None
) -> StepShown:
    spec_url = step.get("spec_url", "")
    return StepShown(
        index=index,
        anchor=StepId(scenario_key, step["key"]).anchor,
        key=step["key"],
        title=step["title"],
        verdict=step["verdict"],
        expected=step.get("expected", ""),
        actual=step.get("actual", ""),
        # Written by an engine or a runner: an address of another kind would be a script in the reader's page.
        spec_url=spec_url if spec_url.startswith(("https://", "http://")) else "",
        duration_ms=step.get("duration_ms", 0),
        has_evidence=has_evidence,
        requirement=step.get("requirement", ""),
        flaky=flaky,
    )


def step_at(run: ComplianceRun, index: int) -> StepShown | None:
    """The step with this place in the report."""
    for track in tracks_of(run, set()):
        for scenario in track.scenarios + track.folded:
            for step in scenario.steps:
                if step.index == index:
                    return step
    return None


def why_inconclusive(run: ComplianceRun) -> str:
    """What an inconclusive run means; empty for others (R7)."""
    if run.overall_status != OverallStatus.INCONCLUSIVE:
        return ""
    codes = {notice["code"] for notice in run.notices}
    if "credential_refused" in codes:
        return f"Not begun, because the credential that was chosen is not to be used: {run.harness_error}."
    if NOT_ACCEPTED in codes:
        return f"{run.harness_error}. What needs a credential was not seen."
    if "refused" in codes:
        private = run.executor_kind == ExecutorKind.PRIVATE
        whose = "the runner's own rule, not this site's" if private else "a rule of this site"
        return f"{run.harness_error}. That is {whose}."
    if run.harness_error:
        return f"The test itself broke, not the agent: {run.harness_error}."
    if run.truncated:
        return "Time or size ran out before every check had run. What had not run is marked “not tested”."
    if "needs_credential" in codes:
        return (
            "The agent wants a credential and none was given. What was seen from outside is in order; the rest was not."
        )
    return "No check could be judged, so there is nothing to call passing or failing."


def public_status(run: ComplianceRun) -> str:
    """Whether the run counts for the agent's public status, and why not."""
    if run.moves_status:
        return "Counts for the agent's public status."
    if run.overall_status == OverallStatus.INCONCLUSIVE:
        reason = "it is inconclusive"
    elif run.dry_run:
        reason = "it was a dry run"
    elif not run.full_suite:
        reason = "only a part of the suite was run"
    elif run.beside_status:
        reason = "public status is measured by the baseline, and this is another suite"
    elif run.executor_kind == ExecutorKind.PRIVATE:
        reason = "a private runner ran it: it is your organization's own evidence"
    elif run.triggered_by == TriggeredBy.OBSERVER_TEST:
        reason = "your organization observes this agent and is not its verified owner"
    else:
        reason = "its kind of run never does"
    return f"Does not count for the agent's public status, because {reason}."


_OBSERVED = (
    *("server_name", "server_version", "agent_name", "agent_version", "tools", "resources", "prompts", "skills"),
    *("requests", "latency_ms", "latency_max_ms"),
)


_UNITS = {"_ms": " ms", "_mb": " MB"}


def observations(run: ComplianceRun) -> list[tuple[str, str]]:
    """What was seen beside the checks, as names and values."""
    shown = []
    # The database keeps no order of keys: who it is first, then what it has, then how quick it is.
    known = {key: place for place, key in enumerate(_OBSERVED)}
    for key, value in sorted(run.observations.items(), key=lambda item: (known.get(item[0], len(known)), item[0])):
        if value in (None, "", [], {}):
            continue
        text = ", ".join(map(str, value)) if isinstance(value, list) else value
        if isinstance(text, bool):
            text = "yes" if text else "no"
        if isinstance(text, dict):
            text = ", ".join(f"{name}: {item}" for name, item in text.items())
        name, unit = next(
            ((key.removesuffix(end), unit) for end, unit in _UNITS.items() if key.endswith(end)), (key, "")
        )
        words = name.replace("_", " ").capitalize()
        shown.append((words.replace("Adcp", "AdCP").replace("Tls", "TLS"), f"{text}{unit}"))
    return shown
