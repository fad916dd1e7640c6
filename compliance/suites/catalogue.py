"""The suites as they are offered: what is published, what it needs, and whether somebody can run it now."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from compliance.suites.health import read_availability
from compliance.suites.models import Suite, SuiteVersion


@dataclass(frozen=True, slots=True)
class Option:
    """A choice that a suite offers; its kind is that of its default."""

    key: str
    title: str
    description: str
    default: Any


@dataclass(frozen=True, slots=True)
class Facts:
    """What lists and forms show of a published version."""

    protocols: tuple[str, ...]
    requires: tuple[tuple[str, str], ...]  # what the agent must have, in words, by kind
    options: tuple[Option, ...]
    full: bool
    scenario_count: int

    def fits(self, protocol: str) -> bool:
        """Whether agents of this protocol can be tested; when it is not known yet, anything may fit."""
        return not protocol or not self.protocols or protocol in self.protocols


@dataclass(frozen=True, slots=True)
class OfferedSuite:
    slug: str
    title: str
    description: str
    version: str
    version_id: int
    engine: str
    facts: Facts
    problem: str  # why it cannot be run now; "" when it can


_NEEDS = {"any_of_tools": "One of the tools"}

# A published version never changes, so what was read once holds for ever. Definitions are large: lists of many
# suites would otherwise read megabytes.
_facts: dict[int, Facts] = {}


def facts_of(version_ids: Iterable[int]) -> dict[int, Facts]:
    """The facts of these versions, from memory or in one query."""
    chosen = set(version_ids)
    missing = chosen - _facts.keys()
    if missing:
        found = SuiteVersion.objects.filter(pk__in=missing).values_list("pk", "definition")
        _facts.update({key: _facts_in(definition) for key, definition in found})
    return {key: _facts[key] for key in chosen}


def offered_suites() -> list[OfferedSuite]:
    """Every suite that can be asked for, by engine and title; two queries, whatever their number."""
    known = read_availability()
    rows = list(
        Suite.objects.filter(current_version__isnull=False)
        .order_by("current_version__engine", "title", "slug")
        .values_list(
            "slug",
            "title",
            "description",
            "current_version_id",
            "current_version__version",
            "current_version__engine",
        )
    )
    facts = facts_of(row[3] for row in rows)
    return [
        OfferedSuite(slug, title, description, version, version_id, engine, facts[version_id], known.problem(engine))
        for slug, title, description, version_id, version, engine in rows
    ]


def _facts_in(definition: dict[str, Any]) -> Facts:
    words = definition.get("option_words", {})
    return Facts(
        protocols=tuple(definition.get("protocols", ())),
        requires=tuple(
            (_NEEDS.get(kind) or _plain(kind), _listed(needed))
            for kind, needed in definition.get("requires", {}).items()
            if needed
        ),
        options=tuple(
            _option(key, words.get(key), default)
            for key, default in definition.get("options", {}).items()
            if key != "scenarios"  # chosen among the suite's own, where they are listed
        ),
        full=definition.get("full", True) is not False,
        scenario_count=sum(len(track["scenarios"]) for track in definition.get("tracks", ())),
    )


def _option(key: str, words: list[str] | None, default: Any) -> Option:
    # Versions that were published before options had words show their keys.
    title, description = words or (_plain(key), "")
    return Option(key, title, description, default)


def _plain(key: str) -> str:
    return key.replace("_", " ").capitalize()


def _listed(needed: Any) -> str:
    if isinstance(needed, list | tuple):
        return ", ".join(map(str, needed))
    return "yes" if needed is True else str(needed)
