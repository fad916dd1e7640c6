"""The suite a2a-must as data: the checks of each binding, and those of the agent as a whole."""

from __future__ import annotations

from compliance.engines.catalog import (
    CONNECTIVITY,
    SCENARIOS_OPTION,
    OptionSpec,
    ScenarioSpec,
    StepSpec,
    SuiteSpec,
    TrackSpec,
)
from compliance.engines.suites.a2a.client import HTTP_JSON, JSONRPC
from compliance.engines.suites.a2a.session import CARD, GROUPS, INTEROP, NAMES, PREFIXES, SECURITY, SPEC, VERSION_0_3

SPEC_VERSION = "A2A 1.0"
SLUG = "a2a-must"
ANSWERS = "answers"  # the first step of each binding: without it there is nothing to ask


def _answers(binding: str) -> ScenarioSpec:
    spec = StepSpec(
        ANSWERS,
        f"The {NAMES[binding]} interface answers",
        "An answer of the declared binding at the declared address",
        f"{SPEC}#831-supported-interfaces-declaration",
    )
    return ScenarioSpec(f"{PREFIXES[binding]}/interface", f"The {NAMES[binding]} interface", (spec,))


def _binding(binding: str) -> TrackSpec:
    scenarios = (_answers(binding), *(group.scenario_of(binding) for group in GROUPS))
    return TrackSpec(PREFIXES[binding], NAMES[binding], scenarios)


_GRPC = ScenarioSpec(
    "grpc/interface",
    "The gRPC interface",
    (
        StepSpec(
            ANSWERS,
            "The gRPC interface answers",
            "An answer of the declared binding at the declared address",
            f"{SPEC}#10-grpc-protocol-binding",
        ),
    ),
)

MUST = SuiteSpec(
    slug=SLUG,
    version="1",
    title="A2A requirements",
    description=(
        "What the A2A specification demands of every agent, as far as it can be seen from outside without doing "
        "harm: the card, errors, versions, undeclared capabilities and listings, on each interface that the card "
        "declares. With side effects allowed also messages, tasks and streams."
    ),
    engine="a2a",
    protocols=("a2a",),
    tracks=(
        CONNECTIVITY,
        TrackSpec("card", "Agent card", (CARD,)),
        _binding(JSONRPC),
        _binding(HTTP_JSON),
        TrackSpec("grpc", "gRPC", (_GRPC,)),
        TrackSpec("v03", "Version 0.3", VERSION_0_3),
        TrackSpec("interop", "Interfaces together", (INTEROP,)),
        TrackSpec("security", "Security", (SECURITY,)),
    ),
    options=(
        OptionSpec(
            "allow_side_effects",
            "Allow side effects",
            False,
            "Also sends the agent short greetings, one after another, and judges its messages, tasks and streams.",
        ),
        SCENARIOS_OPTION,
    ),
    # The public status of agents says what the baseline says: it would change with whoever ran which suite last.
    full=False,
)
