"""What is asked of a suite in one job, held against what the suite offers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from compliance.registry.models import HOSTED, Placement, Runner, RunnerState
from compliance.suites.health import read_availability
from compliance.suites.models import Suite, SuiteVersion
from compliance.tenancy.errors import Invalid, Refused

TEXT_LENGTH = 2000
_ENABLE = "Owners and admins can enable runners in their settings. Until then choose where else the test runs."
_INSTALL = (
    "On the runner's machine, install assay-runner with its extra “node” and run “assay-runner install-engines”, which"
    " bring the official runners of AdCP and MCP; “assay-runner engines” says what any engine needs. Then start the"
    " runner anew, or choose where else the test runs."
)


class PlacementRefused(Refused):
    """The private runner, or the pool, that was chosen cannot take the test."""


def obstacle(placement: Placement, engine: str, runners: Sequence[Runner]) -> str:
    """Why none of a placement's runners can run an engine's suite, such as “City box lacks the engine adcp”.

    "" when one can, as far as is known, or when there is none of them. Whether they are online is not asked.
    """
    enabled = [runner for runner in runners if runner.state == RunnerState.ACTIVE]
    if runners and not enabled:
        return (
            f"Every runner of the pool “{placement.pool}” is disabled"
            if placement.pool
            else f"{runners[0].name} is disabled"
        )
    if enabled and all(runner.lacks(engine) for runner in enabled):
        if placement.pool:
            return f"No runner of the pool “{placement.pool}” has the engine {engine}"
        return f"{enabled[0].name} lacks the engine {engine}"
    return ""


def refuse_placement(organization_id: str, placement: Placement, engine: str) -> None:
    """Raise PlacementRefused, with what to do, for private runners of which none can take what needs the engine.

    Needs the organization's scope. One that was never online has listed no engines yet: it may have this one.
    """
    runners = list(Runner.objects.named_by(organization_id, placement))
    why = obstacle(placement, engine, runners)
    if why:
        remedy = _INSTALL if any(runner.state == RunnerState.ACTIVE for runner in runners) else _ENABLE
        raise PlacementRefused(f"{why}. {remedy}")


def suite_to_run(slug: str, placement: Placement = HOSTED) -> SuiteVersion:
    """The suite's current version. Raises Refused, with the reason, for one that cannot be run now.

    What a private runner can run, refuse_placement asks.
    """
    suite = Suite.objects.with_current_version().filter(slug=slug).first()
    if suite is None or suite.current_version is None:
        raise Invalid("suite", f"There is no suite “{slug}”.")
    problem = "" if placement.is_private else read_availability().problem(suite.current_version.engine)
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
    """A job's options: only what differs from what the suite does by itself, so that equal jobs are equal.

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
