"""A comparison of two runs as its page shows it."""

from __future__ import annotations

from dataclasses import dataclass

from compliance.runs.comparison import Comparison, Kind, StepChange

# What asks for something to be done comes first.
_GROUPS = (
    (Kind.NEWLY_FAILING, "Newly failing", "Passed, or were not judged, in the {first} run."),
    (Kind.STILL_FAILING, "Still failing", "Failed in both."),
    (Kind.FIXED, "Fixed", "Failed in the {first} run and pass in the {second}."),
    (Kind.CHANGED, "Changed otherwise", "A check that was skipped or silent was not judged: it is not fixed."),
    (Kind.NEW, "New", "The {first} run did not have these checks."),
    (Kind.GONE, "Gone", "The {second} run does not have these checks."),
)
LONG = 10  # so many changes push what follows out of sight


@dataclass(frozen=True, slots=True)
class Group:
    kind: Kind
    title: str
    meaning: str
    changes: list[StepChange]

    @property
    def is_folded(self) -> bool:
        """Whether it is a long list of what has nothing to be compared with."""
        return self.kind in (Kind.NEW, Kind.GONE) and len(self.changes) > LONG


def groups_of(comparison: Comparison, first: str, second: str) -> list[Group]:
    """The changes by kind, what needs attention first; kinds that do not occur are left out.

    first, second: what the page calls the two runs.
    """
    names = {"first": first.lower(), "second": second.lower()}
    groups = [Group(kind, title, meaning.format(**names), comparison.of(kind)) for kind, title, meaning in _GROUPS]
    return [group for group in groups if group.changes]


def verdict_on(comparison: Comparison) -> str:
    """Whether the agent changed or we did, in a sentence."""
    if comparison.agent_changed and comparison.we_changed:
        return "The agent changed, and so did the way it was tested: either may explain a changed verdict."
    if comparison.agent_changed:
        return "The agent changed. It was tested in the same way."
    if comparison.we_changed:
        return "The agent says that it is the same. The way it was tested changed."
    if any(difference.seen_once for difference in comparison.differences):
        return "Nothing that both runs saw differs around them. One of them saw less of the agent than the other."
    return "Nothing known differs around the two runs: same agent as far as it says, same checks, same engine."
