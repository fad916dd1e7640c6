"""Two runs side by side: what changed in the verdicts, what differed around them, and which steps are flaky.

Whether the agent changed or we did is the question that a comparison settles, so every difference says whose it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Any, NamedTuple

from django.db.models import Q

from compliance.engines.reports.model import MEASURED
from compliance.pagination import Cursor
from compliance.runs.history import HISTORY
from compliance.runs.models import NEWEST_FIRST, ComplianceRun, ComplianceRunQuerySet, OverallStatus

FLAKY_RUNS = 20  # how far back a step's changes are counted
FLAKY_FLIPS = 3  # so many changes of verdict with nothing else changed make a step flaky
FLAKY_SHARE = 0.2  # and so large a part of the pairs of runs that could have shown one
_SEARCHED = 500  # runs looked through for a comparable one: a page must not read a whole history


class Kind(StrEnum):
    """What became of a step between two runs."""

    NEWLY_FAILING = "newly_failing"
    STILL_FAILING = "still_failing"
    FIXED = "fixed"
    CHANGED = "changed"  # any other change of verdict: judged before and now skipped, for example (R6)
    NEW = "new"  # was not in the earlier run
    GONE = "gone"  # is not in the later run
    SAME = "same"


class StepId(NamedTuple):
    """A step is the same one in two runs when its scenario and its own key are."""

    scenario: str
    step: str

    @property
    def anchor(self) -> str:
        """What a link to the step names it by. Keys are stable: it means the same in the next run."""
        return "-".join(f"{self.scenario}/{self.step}".split())


@dataclass(frozen=True, slots=True)
class StepChange:
    id: StepId
    track: str
    scenario: str  # its title
    title: str
    before: dict[str, Any] | None  # the step as stored; None when the run did not have it
    after: dict[str, Any] | None
    kind: Kind


@dataclass(frozen=True, slots=True)
class Difference:
    """Something around the verdicts that was not the same. An empty value means that there was none."""

    what: str
    before: str
    after: str
    ours: bool  # we changed (suite, engine, credential, executor), rather than the agent

    @property
    def seen_once(self) -> bool:
        """Whether only one of the runs saw it of the agent: not looked at is not changed."""
        return not self.ours and not (self.before and self.after)


@dataclass(frozen=True, slots=True)
class Comparison:
    changes: list[StepChange]  # in the later run's order, then what is gone
    differences: list[Difference]

    def of(self, kind: Kind) -> list[StepChange]:
        return [change for change in self.changes if change.kind is kind]

    @property
    def agent_changed(self) -> bool:
        return any(not difference.ours and not difference.seen_once for difference in self.differences)

    @property
    def we_changed(self) -> bool:
        return any(difference.ours for difference in self.differences)


@dataclass(frozen=True, slots=True)
class Flakiness:
    """How often a step changed its verdict while nothing that is known about the runs changed."""

    flips: int
    pairs: int  # consecutive runs that judged the step in the same surroundings

    @property
    def is_flaky(self) -> bool:
        return self.flips >= FLAKY_FLIPS and self.flips >= self.pairs * FLAKY_SHARE


def _steps(run: ComplianceRun) -> Iterator[tuple[StepId, dict[str, Any], dict[str, Any], dict[str, Any]]]:
    for track in run.tracks_json:
        for scenario in track["scenarios"]:
            for step in scenario["steps"]:
                yield StepId(scenario["key"], step["key"]), track, scenario, step


def compare_runs(before: ComplianceRun, after: ComplianceRun) -> Comparison:
    """What the later run says that the earlier one did not. Needs the runs whole, with `suite_version__suite`."""
    earlier = {key: (track, scenario, step) for key, track, scenario, step in _steps(before)}
    changes = []
    for key, track, scenario, step in _steps(after):
        was = earlier.pop(key, None)
        before_step = was[2] if was else None
        kind = _kind(before_step["verdict"] if before_step else None, step["verdict"])
        changes.append(StepChange(key, track["title"], scenario["title"], step["title"], before_step, step, kind))
    for key, (track, scenario, step) in earlier.items():
        changes.append(StepChange(key, track["title"], scenario["title"], step["title"], step, None, Kind.GONE))
    return Comparison(changes, differences(before, after))


def _kind(before: str | None, after: str) -> Kind:
    if before is None:
        return Kind.NEW
    if after == "failed":
        return Kind.STILL_FAILING if before == "failed" else Kind.NEWLY_FAILING
    if before == after:
        return Kind.SAME
    # Only a pass mends a failure: a step that is skipped now was not looked at (R6).
    return Kind.FIXED if before == "failed" and after == "passed" else Kind.CHANGED


def surroundings(run: ComplianceRun) -> dict[str, tuple[str, bool]]:
    """Everything known that could explain a change of verdict: name to (value, whether it is ours)."""
    agent = {
        "Agent": run.agent_url,
        "Protocol": run.protocol.upper(),
        "Protocol version": run.protocol_version,
        **{key.replace("_", " ").capitalize(): _text(run.observations[key]) for key in sorted(run.observations)
           if key not in MEASURED},
    }  # fmt: skip
    ours = {
        "Suite": str(run.suite_version.suite),
        "Suite version": run.suite_version.version,
        "Part of the suite": "" if run.full_suite else "yes",
        "Engine": f"{run.engine} {run.engine_version}".strip(),
        "Specification": run.spec_version,
        **{f"Runtime: {name}": str(run.runtime[name]) for name in sorted(run.runtime)},
        # Of a heartbeat only its organization knows the name.
        "Credential": (run.credential_name or "the verified owner's") if run.credential_id else "",
        "Executor": run.executor_name or run.get_executor_kind_display(),
    }
    return {name: (value, False) for name, value in agent.items()} | {
        name: (value, True) for name, value in ours.items()
    }


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(sorted(map(_text, value)))  # what an agent lists has no order of its own
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_text(value[key])}" for key in sorted(value))
    return "" if value is None else str(value)


def differences(before: ComplianceRun, after: ComplianceRun) -> list[Difference]:
    """What was not the same around two runs: what is the agent's, then what is ours, then what only one run saw."""
    earlier, later = surroundings(before), surroundings(after)
    found = []
    for name in {**later, **earlier}:
        old, new = earlier.get(name, ("", False)), later.get(name, ("", False))
        if old[0] != new[0]:
            found.append(Difference(name, old[0], new[0], ours=old[1] or new[1]))
    name = later["Credential"][0]
    if before.credential_id != after.credential_id and earlier["Credential"][0] == name:
        # Two secrets of one name are two secrets.
        found.append(Difference("Credential", f"{name}, another", f"{name}, another", ours=True))
    name = later["Executor"][0]
    if before.executor_id != after.executor_id and earlier["Executor"][0] == name:
        # A private runner may have the name that another had, or that ours go by.
        found.append(Difference("Executor", f"{name}, another", f"{name}, another", ours=True))
    return sorted(found, key=lambda difference: (difference.seen_once, difference.ours))


def comparable_runs(run: ComplianceRun) -> ComplianceRunQuerySet:
    """The conclusive runs before this one that asked the same of the same agent, newest first.

    The same organization's when it caused the run, the platform's otherwise; of those only the newest few
    hundred are looked through, so that a page never reads a whole history.
    """
    runs = ComplianceRun.objects.for_agent(run.agent_url)
    whose = runs.of_platform() if run.triggered_org_id is None else runs.own(run.triggered_org_id)
    newest = HISTORY.after(whose, Cursor(run.tested_at, run.pk)).values("pk")[:_SEARCHED]
    return (
        ComplianceRun.objects.filter(
            pk__in=newest,
            suite_version__suite_id=run.suite_version.suite_id,
            full_suite=run.full_suite,
        )
        .exclude(overall_status=OverallStatus.INCONCLUSIVE)
        .order_by(*NEWEST_FIRST)
    )


@dataclass(frozen=True, slots=True)
class Background:
    """What came before a run."""

    previous: ComplianceRun | None  # the comparable run before it
    last_passing: ComplianceRun | None  # the last comparable one that passed
    flaky: dict[StepId, Flakiness]


def background_of(run: ComplianceRun) -> Background:
    """What came before a run, in one query: its page has many others to ask."""
    comparable = comparable_runs(run)
    recent = comparable.values("pk")[: FLAKY_RUNS - 1]
    passing = comparable.filter(overall_status=OverallStatus.PASSING).values("pk")[:1]
    found = ComplianceRun.objects.filter(Q(pk__in=recent) | Q(pk__in=passing)).select_related("suite_version__suite")
    # The last pass stands among the recent runs, or after them when it is older.
    history = list(found.order_by(*NEWEST_FIRST))
    last_passing = next((earlier for earlier in history if earlier.overall_status == OverallStatus.PASSING), None)
    return Background(history[0] if history else None, last_passing, flakiness_of([run, *history[: FLAKY_RUNS - 1]]))


def flakiness_of(runs: Sequence[ComplianceRun]) -> dict[StepId, Flakiness]:
    """The flaky steps in these runs, which are in order of time (either way)."""
    tally: dict[StepId, list[int]] = {}
    # By their keys too: names of credentials and private runners are given again.
    judged = [((surroundings(run), run.credential_id, run.executor_id), _judged(run)) for run in runs]
    for (around, verdicts), (other_around, other_verdicts) in pairwise(judged):
        if around != other_around:
            continue
        for key in verdicts.keys() & other_verdicts.keys():
            counts = tally.setdefault(key, [0, 0])
            counts[0] += verdicts[key] != other_verdicts[key]
            counts[1] += 1
    found = ((key, Flakiness(*counts)) for key, counts in tally.items())
    return {key: flakiness for key, flakiness in found if flakiness.is_flaky}


def _judged(run: ComplianceRun) -> dict[StepId, str]:
    """The steps that were judged: going from failed to skipped is no change of mind about the agent."""
    return {key: step["verdict"] for key, _, _, step in _steps(run) if step["verdict"] in ("passed", "failed")}
