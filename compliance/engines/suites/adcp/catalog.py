"""The storyboards that the npm package carries, as suites. Nothing of their text is kept in this repository."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import subprocess
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from compliance.engines.catalog import OptionSpec, ScenarioSpec, StepSpec, SuiteSpec, TrackSpec

log = logging.getLogger(__name__)

NAME = "adcp"
DOCS = "https://docs.adcontextprotocol.org/docs"
FULL = "adcp"  # the slug of the assessment that the agent's own capabilities choose

_LISTER = Path(__file__).with_name("catalog.cjs")
_KEPT = ".assay-storyboards.json"
_SECONDS = 60.0  # for listing the storyboards
_KINDS = {"universal": "AdCP, every agent", "protocol": "AdCP protocol", "specialism": "AdCP specialism"}
_WRITES = (
    "The storyboards call tools that create and change things, such as create_media_buy. As the official runner does "
    "by default, every request asks for the sandbox account (account.sandbox is true); an agent that has no sandbox "
    "does these things for real."
)
_SCENARIOS = OptionSpec(
    "scenarios",
    "Only these scenarios",
    [],
    "Runs the storyboards of the named scenarios only. A run so filtered says nothing about the agent as a whole.",
)


class CatalogueUnreadable(Exception):
    """The package's storyboards cannot be listed; the message says why."""


@dataclass(frozen=True, slots=True)
class Part:
    """What of the official suites a suite of ours stands for. Both empty: what the agent's capabilities ask for."""

    bundle: str = ""
    storyboard: str = ""  # its id with hyphens for slashes and underscores


def part_of(slug: str) -> Part:
    """The part that a suite's slug names. Raises LookupError."""
    if slug == FULL:
        return Part()
    _, _, rest = slug.partition("-")
    kind, _, name = rest.partition("-")
    if not slug.startswith(f"{NAME}-") or not name or kind not in (*_KINDS, "storyboard"):
        raise LookupError(f"There is no suite called {slug!r}")
    return Part(storyboard=name) if kind == "storyboard" else Part(bundle=name)


def spec_link(doc: str | None, schema: str | None = None) -> str:
    """The page of the AdCP documentation that a storyboard's step refers to, else the schema, else ""."""
    return f"{DOCS}{doc}" if doc and doc.startswith("/") else schema or ""


@cache
def read_catalogue(node: Path, sdk: Path) -> dict[str, Any]:
    """The package's storyboards. Raises CatalogueUnreadable.

    Asking the package starts Node and reads all of its files, so the answer is kept in the package's own folder,
    which goes when the package is installed anew. Where nobody may write there, each process asks once.
    """
    kept = sdk / _KEPT
    try:
        key = hashlib.sha256(_LISTER.read_bytes() + (sdk / "package.json").read_bytes()).hexdigest()
    except OSError as error:
        raise CatalogueUnreadable(f"@adcp/sdk cannot be read ({type(error).__name__})") from error
    with suppress(OSError, ValueError, LookupError, TypeError):
        stored = json.loads(kept.read_text("utf-8"))
        if stored["key"] == key and stored["catalogue"]["bundles"]:
            return dict(stored["catalogue"])
    found = _ask(node, sdk)
    _keep(kept, {"key": key, "catalogue": found})
    return found


def _ask(node: Path, sdk: Path) -> dict[str, Any]:
    try:
        done = subprocess.run(  # noqa: S603
            [str(node), str(_LISTER), str(sdk)], capture_output=True, timeout=_SECONDS, check=True, env={}
        )
        found: dict[str, Any] = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise CatalogueUnreadable(f"The storyboards of @adcp/sdk cannot be listed ({type(error).__name__})") from error
    return found


def _keep(path: Path, content: dict[str, Any]) -> None:
    """Whole or not at all, since others read it meanwhile."""
    own = path.with_name(f"{path.name}-{os.getpid()}")
    try:
        own.write_text(json.dumps(content), "utf-8")
        own.replace(path)
    except OSError as error:
        log.info("The list of the storyboards cannot be kept (%s)", type(error).__name__)
        with suppress(OSError):
            own.unlink()


def make_suites(catalogue: dict[str, Any], sdk_version: str) -> tuple[SuiteSpec, ...]:
    """The assessment, each bundle, and each storyboard of a bundle that has several."""
    version = f"{catalogue['adcp_version']}-sdk{sdk_version}"
    bundles = catalogue["bundles"]
    every = [storyboard for bundle in bundles for storyboard in bundle["storyboards"]]
    suites = [
        SuiteSpec(
            slug=FULL,
            version=version,
            title="AdCP assessment",
            description=(
                "The official AdCP storyboards: those for every agent, and those of the protocols and specialisms "
                f"that the agent declares in get_adcp_capabilities. {_WRITES}"
            ),
            engine=NAME,
            protocols=("mcp", "a2a"),
            tracks=_tracks(every),
            options=(_SCENARIOS,),
            requires={"tools": [], "capabilities": [], "any_of_tools": ["get_adcp_capabilities"]},
        )
    ]
    for bundle in bundles:
        storyboards = bundle["storyboards"]
        title = bundle.get("title") or storyboards[0]["title"]
        if len(storyboards) > 1:  # often called like one of its storyboards, which is a suite as well
            title = f"{title}, all {len(storyboards)} storyboards"
        suites.append(_part(f"{NAME}-{bundle['kind']}-{bundle['id']}", version, bundle["kind"], title, storyboards))
        if len(storyboards) > 1:
            suites += [
                _part(_storyboard_slug(one["id"]), version, bundle["kind"], one["title"], [one]) for one in storyboards
            ]
    return tuple(suites)


def _storyboard_slug(storyboard: str) -> str:
    return f"{NAME}-storyboard-{storyboard.replace('/', '-').replace('_', '-')}"


def _part(slug: str, version: str, kind: str, title: str, storyboards: Sequence[dict[str, Any]]) -> SuiteSpec:
    summary = " ".join(str(storyboards[0].get("summary") or "").split())
    return SuiteSpec(
        slug=slug,
        version=version,
        title=f"{_KINDS[kind]}: {title}",
        description=f"{summary} A part of the AdCP assessment. {_WRITES}".strip(),
        engine=NAME,
        protocols=("mcp", "a2a"),
        tracks=_tracks(storyboards),
        options=(_SCENARIOS,) if len(storyboards) > 1 else (),
        full=False,
        requires=_requires(storyboards),
    )


def _requires(storyboards: Iterable[dict[str, Any]]) -> dict[str, Any]:
    # A storyboard applies when the agent has any of its tools, so a suite does when it has any of them all.
    tools = list(dict.fromkeys(tool for one in storyboards for tool in one["tools"]))
    capabilities = [one["capability"] for one in storyboards if one["capability"]]
    return {"any_of_tools": tools, **({"capabilities": capabilities} if capabilities else {})} if tools else {}


def _tracks(storyboards: Iterable[dict[str, Any]]) -> tuple[TrackSpec, ...]:
    tracks: dict[str, dict[str, ScenarioSpec]] = {}
    for one in storyboards:
        scenarios = tracks.setdefault(one["track"] or "other", {})
        for phase in one["phases"]:
            steps = tuple(
                StepSpec(
                    step["id"],
                    step["title"],
                    " ".join((step.get("expected") or "").split()),
                    spec_link(step.get("doc")),
                )
                for step in phase["steps"]
            )
            key = f"{one['id']}/{phase['id']}"
            scenarios[key] = ScenarioSpec(key, f"{one['title']}: {phase['title']}", steps)
    return tuple(TrackSpec(key, track_title(key), tuple(found.values())) for key, found in tracks.items())


def track_title(key: str) -> str:
    return key.replace("_", " ").capitalize()
