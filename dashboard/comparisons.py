"""A comparison of two runs as its page shows it."""

from __future__ import annotations

from dataclasses import dataclass

from compliance.runs.compare import Comparison, Kind, StepChange

# What asks for something to be done comes first.
_GROUPS = (
    (Kind.NEWLY_FAILING, "Newly failing", "Passed, or was not judged, in the earlier run."),
    (Kind.STILL_FAILING, "Still failing", "Failed in both."),
    (Kind.FIXED, "Fixed", "Failed in the earlier run and passes now."),
    (Kind.CHANGED, "Changed otherwise", "A check that is skipped or silent now was not judged: it is not fixed."),
    (Kind.NEW, "New", "The earlier run did not have these checks."),
    (Kind.GONE, "Gone", "The later run does not have these checks."),
)


@dataclass(frozen=True, slots=True)
class Group:
    kind: Kind
    title: str
    meaning: str
    changes: list[StepChange]


def groups_of(comparison: Comparison) -> list[Group]:
    """The changes by kind, what needs attention first; kinds that do not occur are left out."""
    groups = [Group(kind, title, meaning, comparison.of(kind)) for kind, title, meaning in _GROUPS]
    return [group for group in groups if group.changes]


def verdict_on(comparison: Comparison) -> str:
    """Whether the agent changed or we did, in a sentence."""
    if comparison.agent_changed and comparison.we_changed:
        return "The agent changed, and so did the way it was tested: either may explain a changed verdict."
    if comparison.agent_changed:
        return "The agent changed. It was tested in the same way."
    if comparison.we_changed:
        return "The agent says that it is the same. The way it was tested changed."
    return "Nothing known differs around the two runs: same agent as far as it says, same checks, same engine."
