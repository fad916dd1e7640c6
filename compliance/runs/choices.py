"""What is asked of a suite in one request, held against what the suite offers."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from compliance.runs.requests import HOSTED, Pin
from compliance.suites.health import read_availability
from compliance.suites.models import Suite, SuiteVersion
from compliance.tenancy.errors import Invalid, Refused

TEXT_LENGTH = 2000


def suite_to_run(slug: str, pin: Pin = HOSTED) -> SuiteVersion:
    """The suite's current version. Raises Refused, with the reason, for one that cannot be run now.

    What a private runner can run, it says itself when it asks for work.
    """
    suite = Suite.objects.with_current_version().filter(slug=slug).first()
    if suite is None or suite.current_version is None:
        raise Invalid("suite", f"There is no suite “{slug}”.")
    problem = "" if pin.is_private else read_availability().problem(suite.current_version.engine)
    if problem:
        raise Refused(f"{suite.title} cannot be run now. {problem}")
    return suite.current_version


def chosen(
    definition: Mapping[str, Any],
    *,
    scenarios: Collection[str] = (),
    options: Mapping[str, Any] | None = None,
    all_evidence: bool = False,
) -> dict[str, Any]:
    """A request's options: only what differs from what the suite does by itself, so that equal wishes are equal.

    scenarios: only these; options: by key; all_evidence: keep the exchanges of steps that passed too.
    Raises Refused for what the suite does not have.
    """
    known = {scenario["key"] for track in definition.get("tracks", ()) for scenario in track["scenarios"]}
    unknown = sorted(set(scenarios) - known)
    if unknown:
        raise Refused(f"The suite has no scenario “{unknown[0]}”.")
    defaults = {key: value for key, value in definition.get("options", {}).items() if key != "scenarios"}
    wanted: dict[str, Any] = {}
    for key, value in (options or {}).items():
        if key not in defaults:
            raise Refused(f"The suite has no option “{key}”.")
        if not _is_like(value, defaults[key]):
            raise Refused(f"“{value}” is no value for the option “{key}”.")
        if value != defaults[key]:
            wanted[key] = value
    if scenarios and set(scenarios) != known:
        wanted["scenarios"] = sorted(set(scenarios))
    if all_evidence:
        wanted["evidence"] = "all"
    return wanted


def _is_like(value: Any, default: Any) -> bool:
    """Whether the value is of the default's kind; an option without a default is text."""
    if isinstance(default, bool):
        return isinstance(value, bool)
    if isinstance(default, int | float):
        return isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(default, list):
        return isinstance(value, list) and all(_is_like(item, "") for item in value)
    return isinstance(value, str) and len(value) <= TEXT_LENGTH
