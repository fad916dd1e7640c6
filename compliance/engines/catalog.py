"""The suites that ship with the engines, as data: what runs, in which order, and what each rule asks for.

The engine takes titles, expectations and references from here, so that what a page shows before a
run and what a report says after it are the same words.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

_MCP = "https://modelcontextprotocol.io/specification/2025-11-25"
_A2A = "https://a2a-protocol.org/latest/specification/"


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


CONNECTIVITY = TrackSpec(
    "connectivity",
    "Connectivity",
    (
        ScenarioSpec(
            "connectivity/reach",
            "Reaching the agent",
            (
                StepSpec(
                    "tls",
                    "The certificate is valid",
                    "A certificate that is trusted, in date and made out to this host",
                    "https://www.rfc-editor.org/rfc/rfc9110#section-4.3.4",
                ),
                StepSpec(
                    "reachable",
                    "The agent answers in time",
                    "An HTTP answer that is not a server error, within the time for one step",
                    "https://www.rfc-editor.org/rfc/rfc9110#section-15.6",
                ),
                StepSpec(
                    "speaks",
                    "The agent speaks its protocol",
                    "JSON-RPC from an MCP server, a JSON agent card from an A2A agent",
                    "https://www.jsonrpc.org/specification",
                ),
            ),
        ),
    ),
)

PROTOCOL = TrackSpec(
    "protocol",
    "Protocol",
    (
        ScenarioSpec(
            "mcp/lifecycle",
            "Opening a session",
            (
                StepSpec(
                    "initialize",
                    "Initialize is answered with capabilities and server information",
                    "A result with protocolVersion, capabilities and serverInfo",
                    f"{_MCP}/basic/lifecycle#initialization",
                ),
                StepSpec(
                    "version",
                    "A published protocol version is agreed on",
                    "A version of the protocol that has been published",
                    f"{_MCP}/basic/lifecycle#version-negotiation",
                ),
                StepSpec(
                    "ping",
                    "Ping is answered with an empty result",
                    "An empty result, promptly",
                    f"{_MCP}/basic/utilities/ping",
                ),
            ),
            "mcp",
        ),
        ScenarioSpec(
            "a2a/card",
            "The agent card",
            (
                StepSpec(
                    "found",
                    "The agent card is at its well-known address",
                    "A JSON document at /.well-known/agent-card.json",
                    f"{_A2A}#8-agent-discovery-the-agent-card",
                ),
                StepSpec(
                    "valid",
                    "The agent card has what the specification requires",
                    "Every required field, of the right type",
                    f"{_A2A}#441-agentcard",
                ),
            ),
            "a2a",
        ),
    ),
)

CAPABILITIES = TrackSpec(
    "capabilities",
    "Capabilities",
    (
        ScenarioSpec(
            "mcp/listings",
            "Listing what the server declares",
            (
                StepSpec(
                    "tools",
                    "Tools are listed",
                    "A tools/list result, page after page",
                    f"{_MCP}/server/tools#listing-tools",
                ),
                StepSpec(
                    "resources",
                    "Resources are listed",
                    "A resources/list result, page after page",
                    f"{_MCP}/server/resources#listing-resources",
                ),
                StepSpec(
                    "prompts",
                    "Prompts are listed",
                    "A prompts/list result, page after page",
                    f"{_MCP}/server/prompts#listing-prompts",
                ),
            ),
            "mcp",
        ),
        ScenarioSpec("mcp/calls", "Calling tools that only read", (), "mcp"),
        ScenarioSpec("a2a/interfaces", "The declared interfaces", (), "a2a"),
        ScenarioSpec(
            "a2a/task",
            "A message and its task",
            (
                StepSpec(
                    "message",
                    "A message is answered with a task or a message",
                    "A task or a message, as the specification defines them",
                    f"{_A2A}#311-send-message",
                ),
                StepSpec(
                    "get_task",
                    "The task can be read back",
                    "The same task under the identifier that the agent gave it",
                    f"{_A2A}#313-get-task",
                ),
            ),
            "a2a",
        ),
    ),
)

SCHEMAS = TrackSpec(
    "schemas",
    "Schemas",
    (
        ScenarioSpec(
            "mcp/schemas",
            "The tools' schemas",
            (
                StepSpec(
                    "names",
                    "Tool names are unique",
                    "No two tools of the same name",
                    f"{_MCP}/server/tools#tool-names",
                ),
            ),
            "mcp",
        ),
    ),
)

ERRORS = TrackSpec(
    "errors",
    "Errors",
    (
        ScenarioSpec(
            "mcp/errors",
            "Answering what does not exist",
            (
                StepSpec(
                    "unknown_method",
                    "An unknown method is answered with an error",
                    "JSON-RPC error -32601 (method not found)",
                    "https://www.jsonrpc.org/specification#error_object",
                ),
                StepSpec(
                    "unknown_tool",
                    "An unknown tool is answered with an error",
                    "A JSON-RPC error, or a result marked isError",
                    f"{_MCP}/server/tools#error-handling",
                ),
            ),
            "mcp",
        ),
        ScenarioSpec(
            "a2a/errors",
            "Answering what does not exist",
            (
                StepSpec(
                    "unknown_method",
                    "An unknown method is answered with an error",
                    "JSON-RPC error -32601 (method not found)",
                    f"{_A2A}#95-error-handling",
                ),
                StepSpec(
                    "unknown_task",
                    "An unknown task is answered with an error",
                    "An error that says that there is no such task",
                    f"{_A2A}#33-operation-semantics",
                ),
            ),
            "a2a",
        ),
    ),
)

SECURITY = TrackSpec(
    "security",
    "Security",
    (
        ScenarioSpec(
            "mcp/auth",
            "Asking for credentials",
            (
                StepSpec(
                    "unauthorized",
                    "A request without credentials is answered with 401",
                    "Status 401 and a WWW-Authenticate header that names a scheme",
                    f"{_MCP}/basic/authorization#protected-resource-metadata-discovery-requirements",
                ),
                StepSpec(
                    "metadata",
                    "The protected resource metadata can be read",
                    "A JSON document that names the resource and its authorization servers",
                    "https://www.rfc-editor.org/rfc/rfc9728#section-3",
                ),
                StepSpec(
                    "accepted",
                    "The stored credential is accepted",
                    "An answer other than 401 or 403",
                    f"{_MCP}/basic/authorization#access-token-usage",
                ),
            ),
            "mcp",
        ),
        ScenarioSpec(
            "a2a/auth",
            "Asking for credentials",
            (
                StepSpec(
                    "unauthorized",
                    "A request without credentials is answered with 401",
                    "Status 401 and a WWW-Authenticate header that names a scheme",
                    f"{_A2A}#7-authentication-and-authorization",
                ),
                StepSpec(
                    "accepted",
                    "The stored credential is accepted",
                    "An answer other than 401 or 403",
                    f"{_A2A}#7-authentication-and-authorization",
                ),
            ),
            "a2a",
        ),
    ),
)

BASELINE = SuiteSpec(
    slug="baseline",
    version="1",
    title="Baseline",
    description=(
        "What every agent owes whoever calls it: it answers in time over a valid connection, speaks its protocol, "
        "lists what it declares, describes its tools with valid schemas, refuses what does not exist with a proper "
        "error, and asks for credentials in the standard way. It needs no knowledge of what the agent is for."
    ),
    engine="baseline",
    protocols=("mcp", "a2a"),
    tracks=(CONNECTIVITY, PROTOCOL, CAPABILITIES, SCHEMAS, ERRORS, SECURITY),
    options=(
        OptionSpec(
            "call_read_only_tools",
            "Call tools that only read",
            True,
            "Calls up to three tools that say they only read and need no arguments, and checks their results.",
        ),
        OptionSpec(
            "allow_side_effects",
            "Allow side effects",
            False,
            "Also calls tools that do not declare themselves read-only, and sends A2A agents a short greeting.",
        ),
        OptionSpec(
            "scenarios",
            "Only these scenarios",
            [],
            "Runs the named scenarios only. A run so filtered says nothing about the agent as a whole.",
        ),
    ),
)

SUITES: tuple[SuiteSpec, ...] = (BASELINE,)


def get_suite(slug: str) -> SuiteSpec:
    for suite in SUITES:
        if suite.slug == slug:
            return suite
    raise LookupError(f"There is no suite called {slug!r}")
