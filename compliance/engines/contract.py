"""What an engine is given, what it says while it works, and what it is.

Nothing here imports Django: the same code runs in a hosted worker and in a private runner.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol

from compliance.engines.catalog import SuiteSpec
from compliance.engines.reports.model import Report


@dataclass(frozen=True, slots=True)
class Limits:
    """What one run may cost. An agent is not trusted to be small or quick."""

    step_seconds: float = 10.0  # for one exchange, connecting and reading included
    slow_ms: int = 2000  # above this the median exchange is worth a notice
    response_bytes: int = 8 * 1024 * 1024  # of one response, after decompression: lists of tools of 5 MB are met
    run_bytes: int = 24 * 1024 * 1024  # of all responses of a run, which are kept until it ends
    evidence_bytes: int = 64 * 1024  # of one stored payload
    redirects: int = 3
    pages: int = 20  # of one listing
    items: int = 500  # of one listing that get a step of their own
    card_nodes: int = 20_000  # JSON values in an agent card
    schema_nodes: int = 20_000  # JSON values in one schema, and new ones checked in one run
    tool_calls: int = 3
    retries: int = 4  # of one request that is put off (429, or 503 with Retry-After); 0 takes that for an answer
    retry_seconds: float = 30.0  # the longest wait for one of them


@dataclass(frozen=True, slots=True)
class Credential:
    """A secret as an engine uses it: one header, sent to the agent's own origin and nowhere else (V1).

    Whatever kind is stored (bearer, basic, API key, OAuth), what the agent sees is a header.
    """

    header: str = field(repr=False)  # "Authorization", or the name that the agent wants its key under
    value: str = field(repr=False)  # the header's whole value, "Bearer …" included
    secrets: tuple[str, ...] = field(default=(), repr=False)  # what to hide wherever it turns up, besides the value
    organization_id: str = ""  # whose it is
    credential_id: str = ""  # which one, for the record
    name: str = ""  # what its organization calls it

    @classmethod
    def bearer(cls, token: str) -> Credential:
        return cls("Authorization", f"Bearer {token}", (token,))

    @property
    def hidden(self) -> tuple[str, ...]:
        """What no report may hold: the header's value and every secret that it is made of."""
        return (self.value, *self.secrets)

    @property
    def bearer_token(self) -> str | None:
        """The token alone, for software that wants it so; None for other kinds."""
        is_bearer = self.header.lower() == "authorization" and self.value[:7].lower() == "bearer "
        return self.value[7:] if is_bearer else None


# The option that says with which scenario to begin, because the last run was cut off before it (Q2). Jobs do not have
# it: it is found when a job is leased, and a suite that cannot begin in the middle does not heed it.
BEGIN_AT = "begin_at"
NOT_REACHED = "Not reached: time ran out"  # what a step says that was not begun when its run was cut off


def engine_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """A job's options without the one that says how much evidence to keep: targets have a field for it."""
    return {key: value for key, value in options.items() if key != "evidence"}


@dataclass(frozen=True, slots=True)
class Target:
    """One agent, one suite, and the terms on which the one is run against the other."""

    url: str
    suite: str = "baseline"  # the suite's slug
    protocol: str = ""  # "mcp" or "a2a"; "" asks the agent first
    # The suite's own; and evidence="all", which is another way to say all_evidence.
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    token: str | None = field(default=None, repr=False)  # short for Credential.bearer(token)
    deadline: float = 60.0  # seconds for the whole run
    limits: Limits = Limits()
    allow: tuple[str, ...] = ()  # host, host:port, address or network exempt from the egress rules (V7)
    suite_version: str = ""
    credential: Credential | None = field(default=None, repr=False)
    run_key: str = ""  # names this run in the log of its connections
    all_evidence: bool = False  # keep the exchanges of steps that passed too

    def __post_init__(self) -> None:
        if self.token is not None and self.credential is None:
            object.__setattr__(self, "credential", Credential.bearer(self.token))
        if self.options.get("evidence") == "all":
            object.__setattr__(self, "all_evidence", True)


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run is: enough for a progress bar and the line under it."""

    step: str  # the title of the step at hand
    done: int
    total: int  # expected; grows when an agent turns out to have many tools

    def plain(self) -> Progress:
        """The same of plain values, whoever made it. Raises what a value raises that cannot be made plain.

        Made plain in the run that reports it, what is wrong with it breaks that run and nobody else's.
        """
        return Progress(str(self.step)[:300], int(self.done), int(self.total))


@dataclass(frozen=True, slots=True)
class Detection:
    protocol: str  # "mcp", "a2a" or "": what a handshake or a card proved (E5)
    reason: str  # for people: what was asked and what came
    protocol_version: str = ""
    likely: str = ""  # what the agent can be tested as although nothing is proven; nobody keeps it


OnStep = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Health:
    """Whether an engine can run on this machine, and with what."""

    available: bool
    reason: str = ""  # what is missing and how to get it, in a sentence, when it is not available
    runtime: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))  # name to version


class Engine(Protocol):
    """Runs a suite against an agent.

    `run` does not raise for anything that an agent does: that is a failed step. What breaks in the
    harness itself is the report's `harness_error`, and a spent deadline makes it `truncated` (R7).
    Another package brings an engine by an entry point in the group "assay.engines": a class, or a
    function, that makes it when called with nothing. See docs/engines.md.
    """

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    @property
    def memory_mb(self) -> int:
        """What one run may take beside the worker, in MiB; 0 for engines that run inside it."""
        ...

    def suites(self) -> Sequence[SuiteSpec]:
        """The suites that this engine carries; none when it is not available."""
        ...

    def health(self) -> Health: ...

    async def run(self, target: Target, *, on_step: OnStep | None = None) -> Report: ...
