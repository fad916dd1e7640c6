"""The official server scenarios, as this engine offers them: what each needs, and which suite it is in."""

from __future__ import annotations

from dataclasses import dataclass

from compliance.engines.catalog import CONNECTIVITY, OptionSpec, ScenarioSpec, StepSpec, SuiteSpec, TrackSpec

SPEC_VERSION = "2025-11-25"  # of the scenarios of the runner's release that is pinned
_SPEC = "https://modelcontextprotocol.io/specification/2025-06-18"
_NEW = f"https://modelcontextprotocol.io/specification/{SPEC_VERSION}"
_SEP = "https://github.com/modelcontextprotocol/modelcontextprotocol/issues"


@dataclass(frozen=True, slots=True)
class Official:
    """One scenario of the official runner."""

    key: str  # the runner's own name for it
    title: str
    track: str
    capability: str = ""  # what a server must declare for it, "a.b" for a part of one; "" for every server
    fixture: tuple[str, str] = ("", "")  # kind ("tool", "resource", "prompt") and name of what it asks for
    local_only: bool = False  # means something for addresses on this machine alone
    checks: tuple[StepSpec, ...] = ()  # those that it makes when nothing stops it early


def _one(key: str, title: str, expected: str, url: str) -> tuple[StepSpec, ...]:
    return (StepSpec(key, title, expected, url),)


def _tool(key: str, title: str, name: str, expected: str, url: str = f"{_SPEC}/server/tools#calling-tools") -> Official:
    return Official(key, title, "tools", "tools", ("tool", name), checks=_one(key, title, expected, url))


def _resource(key: str, title: str, uri: str, expected: str, place: str, capability: str = "resources") -> Official:
    checks = _one(key, title, expected, f"{_SPEC}/server/resources#{place}")
    return Official(key, title, "resources", capability, ("resource", uri), checks=checks)


def _prompt(key: str, title: str, name: str, expected: str, place: str = "getting-prompts") -> Official:
    checks = _one(key, title, expected, f"{_SPEC}/server/prompts#{place}")
    return Official(key, title, "prompts", "prompts", ("prompt", name), checks=checks)


def _steps(url: str, *checks: tuple[str, str, str]) -> tuple[StepSpec, ...]:
    return tuple(StepSpec(key, title, expected, url) for key, title, expected in checks)


SCENARIOS: tuple[Official, ...] = (
    Official(
        "server-initialize",
        "Opening a session",
        "lifecycle",
        checks=_one(
            "server-initialize",
            "The handshake is completed",
            "A session that opens in a version of the protocol that both sides know",
            f"{_SPEC}/basic/lifecycle#initialization",
        ),
    ),
    Official(
        "logging-set-level",
        "Setting the log level",
        "utilities",
        "logging",
        checks=_one(
            "logging-set-level",
            "A log level is accepted",
            "An empty result to logging/setLevel",
            f"{_SPEC}/server/utilities/logging",
        ),
    ),
    Official(
        "ping",
        "Ping",
        "lifecycle",
        checks=_one("ping", "Ping is answered", "An empty result", f"{_SPEC}/basic/utilities/ping"),
    ),
    Official(
        "completion-complete",
        "Completing an argument",
        "utilities",
        "completions",
        ("prompt", "test_prompt_with_arguments"),
        checks=_one(
            "completion-complete",
            "An argument is completed",
            "A completion with a list of values, which may be empty",
            f"{_SPEC}/server/utilities/completion",
        ),
    ),
    Official(
        "tools-list",
        "Listing tools",
        "tools",
        "tools",
        checks=_one(
            "tools-list",
            "Tools are listed",
            "Tools with a name, a description and an input schema",
            f"{_SPEC}/server/tools#listing-tools",
        ),
    ),
    _tool("tools-call-simple-text", "A tool returns text", "test_simple_text", "A content item of type text"),
    _tool("tools-call-image", "A tool returns an image", "test_image_content", "An image with data and MIME type"),
    _tool("tools-call-audio", "A tool returns audio", "test_audio_content", "Audio with data and type audio/wav"),
    _tool(
        "tools-call-embedded-resource",
        "A tool returns an embedded resource",
        "test_embedded_resource",
        "A resource with URI, MIME type and contents",
    ),
    _tool(
        "tools-call-mixed-content",
        "A tool returns several kinds of content",
        "test_multiple_content_types",
        "Text, an image and a resource in one result",
    ),
    _tool(
        "tools-call-with-logging",
        "A tool logs while it works",
        "test_tool_with_logging",
        "At least three log messages",
        f"{_SPEC}/server/utilities/logging",
    ),
    _tool(
        "tools-call-error",
        "A tool reports its own error",
        "test_error_handling",
        "A result marked isError that says what happened",
        f"{_SPEC}/server/tools#error-handling",
    ),
    _tool(
        "tools-call-with-progress",
        "A tool reports its progress",
        "test_tool_with_progress",
        "At least three progress notifications that grow",
        f"{_SPEC}/basic/utilities/progress",
    ),
    _tool(
        "tools-call-sampling",
        "A tool asks the client's model",
        "test_sampling",
        "A sampling request, and a result after its answer",
        f"{_SPEC}/client/sampling",
    ),
    _tool(
        "tools-call-elicitation",
        "A tool asks the user",
        "test_elicitation",
        "An elicitation request, and a result after its answer",
        f"{_SPEC}/client/elicitation",
    ),
    Official(
        "json-schema-2020-12",
        "JSON Schema 2020-12 in a tool's input schema",
        "tools",
        "tools",
        ("tool", "json_schema_2020_12_tool"),
        checks=_steps(
            f"{_SEP}/1613",
            ("json-schema-2020-12-tool-found", "The tool is listed", "The tool of the fixture in tools/list"),
            ("json-schema-2020-12-$schema", "$schema is kept", "The address of draft 2020-12"),
            ("json-schema-2020-12-$defs", "$defs is kept", "A definition called address"),
            ("json-schema-2020-12-additionalProperties", "additionalProperties is kept", "The value false"),
        ),
    ),
    Official(
        "elicitation-sep1034-defaults",
        "Defaults in what a user is asked",
        "tools",
        "tools",
        ("tool", "test_elicitation_sep1034_defaults"),
        checks=_steps(
            f"{_SEP}/1034",
            ("elicitation-sep1034-string-default", "A text has its default", "The default John Doe"),
            ("elicitation-sep1034-integer-default", "An integer has its default", "The default 30"),
            ("elicitation-sep1034-number-default", "A number has its default", "The default 95.5"),
            ("elicitation-sep1034-enum-default", "A choice has its default", "The default active, one of the choices"),
            ("elicitation-sep1034-boolean-default", "A yes or no has its default", "The default true"),
        ),
    ),
    Official(
        "server-sse-polling",
        "Resuming an event stream",
        "transport",
        "tools",
        ("tool", "test_reconnection"),
        checks=_steps(
            f"{_SEP}/1699",
            ("server-sse-priming-event", "A stream begins with an event to resume from", "An id and empty data, first"),
            ("server-sse-retry-field", "A stream says when to come back", "A retry field"),
            ("server-sse-disconnect-resume", "A closed stream is resumed", "The result, after Last-Event-ID"),
        ),
    ),
    Official(
        "server-sse-multiple-streams",
        "Several requests at once",
        "transport",
        "tools",
        checks=_steps(
            f"{_SEP}/1699",
            ("server-accepts-multiple-post-streams", "Three requests at once are accepted", "Status 200 to each"),
            ("server-sse-streams-functional", "Each of the streams carries its answer", "An event on every stream"),
        ),
    ),
    Official(
        "elicitation-sep1330-enums",
        "Choices in what a user is asked",
        "tools",
        "tools",
        ("tool", "test_elicitation_sep1330_enums"),
        checks=_steps(
            f"{_SEP}/1330",
            ("elicitation-sep1330-untitled-single", "One choice without titles", "A string with enum"),
            ("elicitation-sep1330-titled-single", "One choice with titles", "A string with oneOf of const and title"),
            ("elicitation-sep1330-legacy-enumnames", "One choice in the older form", "enum and enumNames, as long"),
            ("elicitation-sep1330-untitled-multi", "Several choices without titles", "An array of enum items"),
            ("elicitation-sep1330-titled-multi", "Several choices with titles", "An array of anyOf items with titles"),
        ),
    ),
    Official(
        "resources-list",
        "Listing resources",
        "resources",
        "resources",
        checks=_one(
            "resources-list",
            "Resources are listed",
            "Resources with a URI and a name",
            f"{_SPEC}/server/resources#listing-resources",
        ),
    ),
    _resource(
        "resources-read-text",
        "A text is read",
        "test://static-text",
        "Contents with URI, MIME type and text",
        "reading-resources",
    ),
    _resource(
        "resources-read-binary",
        "Binary data is read",
        "test://static-binary",
        "Contents with URI, MIME type and data",
        "reading-resources",
    ),
    _resource(
        "resources-templates-read",
        "A resource is read from a template",
        "test://template/123/data",
        "Contents that hold the parameter",
        "resource-templates",
    ),
    _resource(
        "resources-subscribe",
        "A resource is subscribed to",
        "test://watched-resource",
        "A result that is no error; whether a change is told is not looked at",
        "subscriptions",
        "resources.subscribe",
    ),
    _resource(
        "resources-unsubscribe",
        "A subscription is ended",
        "test://watched-resource",
        "A result that is no error",
        "subscriptions",
        "resources.subscribe",
    ),
    Official(
        "prompts-list",
        "Listing prompts",
        "prompts",
        "prompts",
        checks=_one(
            "prompts-list",
            "Prompts are listed",
            "Prompts with a name and a description",
            f"{_SPEC}/server/prompts#listing-prompts",
        ),
    ),
    _prompt("prompts-get-simple", "A prompt is read", "test_simple_prompt", "Messages with role and content"),
    _prompt(
        "prompts-get-with-args",
        "A prompt takes arguments",
        "test_prompt_with_arguments",
        "Messages that hold both arguments",
    ),
    _prompt(
        "prompts-get-embedded-resource",
        "A prompt embeds a resource",
        "test_prompt_with_embedded_resource",
        "A message with a resource",
        "embedded-resources",
    ),
    _prompt(
        "prompts-get-with-image",
        "A prompt holds an image",
        "test_prompt_with_image",
        "A message with an image, its data and MIME type",
        "image-content",
    ),
    Official(
        "dns-rebinding-protection",
        "Protection of a local server against DNS rebinding",
        "transport",
        local_only=True,
        checks=_steps(
            f"{_NEW}/basic/transports#security-warning",
            ("localhost-host-rebinding-rejected", "A foreign Host and Origin is refused", "A status from 400 to 499"),
            ("localhost-host-valid-accepted", "The server's own Host and Origin is accepted", "A status of success"),
        ),
    ),
)

_TRACKS = {
    "lifecycle": "Lifecycle",
    "tools": "Tools",
    "resources": "Resources",
    "prompts": "Prompts",
    "utilities": "Utilities",
    "transport": "Transport",
}
AUTH = ScenarioSpec(
    "mcp/auth",
    "Asking for credentials",
    (
        StepSpec(
            "unauthorized",
            "A request without credentials is answered with 401",
            "Status 401 and a WWW-Authenticate header that names a scheme",
            f"{_NEW}/basic/authorization#protected-resource-metadata-discovery-requirements",
        ),
        StepSpec(
            "accepted",
            "The stored credential is accepted",
            "An answer other than 401 or 403",
            f"{_NEW}/basic/authorization#access-token-usage",
        ),
    ),
    "mcp",
)
SECURITY = TrackSpec("security", "Security", (AUTH,))


def _tracks(chosen: tuple[Official, ...]) -> tuple[TrackSpec, ...]:
    tracks = []
    for key, title in _TRACKS.items():
        scenarios = tuple(ScenarioSpec(s.key, s.title, s.checks, "mcp") for s in chosen if s.track == key)
        if scenarios:
            tracks.append(TrackSpec(key, title, scenarios))
    return tuple(tracks)


_ONLY = OptionSpec(
    "scenarios",
    "Only these scenarios",
    [],
    "Runs the named scenarios only. A run so filtered says nothing about the agent as a whole.",
)
DECLARED_SCENARIOS = tuple(s for s in SCENARIOS if s.fixture == ("", ""))
DECLARED = SuiteSpec(
    slug="mcp-conformance",
    version="1",
    title="MCP conformance: declared capabilities",
    description=(
        "The official conformance scenarios that hold for every MCP server: opening a session, ping, and the listings "
        "and settings of what the server declares. What it does not declare does not apply to it."
    ),
    engine="mcp-conformance",
    protocols=("mcp",),
    tracks=(CONNECTIVITY, *_tracks(DECLARED_SCENARIOS), SECURITY),
    options=(_ONLY,),
)
FIXTURE = SuiteSpec(
    slug="mcp-conformance-sdk",
    version="1",
    title="MCP conformance: SDK fixture",
    description=(
        "All official conformance scenarios. Most of them call tools, read resources and get prompts that only the "
        "test servers of MCP SDKs have: for SDK authors. Its runs never move the status of an agent."
    ),
    engine="mcp-conformance",
    protocols=("mcp",),
    tracks=(CONNECTIVITY, *_tracks(SCENARIOS), SECURITY),
    options=(_ONLY,),
    full=False,
    requires={
        kind + "s": sorted({s.fixture[1] for s in SCENARIOS if s.fixture[0] == kind})
        for kind in ("tool", "resource", "prompt")
    },
)
SUITES = (DECLARED, FIXTURE)
BY_SUITE = {DECLARED.slug: DECLARED_SCENARIOS, FIXTURE.slug: SCENARIOS}
# What is judged before the runner starts; the run's own record of it is the module `discover`.
OPENING = SuiteSpec("mcp-conformance-opening", "1", "", "", "mcp-conformance", ("mcp",), (CONNECTIVITY, SECURITY))
