"""Rules of ours about the official checks: a pass that says nothing is withdrawn, and said to be.

A rule takes a pass away and never makes a failure: that the agent broke something is for the official suite to
say. What is withdrawn becomes silent, which is what it is: the check ran, and saw nothing of what it is about.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from compliance.engines.http.exchange import Exchange
from compliance.engines.http.jsonrpc import parse
from compliance.engines.suites.mcp_conformance.discover import Found
from compliance.engines.suites.mcp_conformance.runner import Outcome
from compliance.engines.suites.mcp_conformance.scenarios import Official

_LISTS = {"tools-list": ("toolCount", "tools"), "resources-list": ("resourceCount", "resources")}
_LISTS["prompts-list"] = ("promptCount", "prompts")
_REJECTED, _ACCEPTED = "localhost-host-rebinding-rejected", "localhost-host-valid-accepted"


@dataclass(frozen=True, slots=True)
class Facts:
    """All that a rule may look at."""

    scenario: Official
    check: dict[str, Any]
    outcome: Outcome
    found: Found

    @property
    def details(self) -> dict[str, Any]:
        details = self.check.get("details")
        return details if isinstance(details, dict) else {}


Rule = Callable[[Facts], str]  # why the pass says nothing, or ""


def answers(outcome: Outcome, method: str) -> Iterator[dict[str, Any]]:
    """The JSON-RPC answers to requests of one method, in every form that the transport has for them."""
    for exchange in outcome.exchanges:
        request, _ = parse(exchange.request_body)
        if not isinstance(request, dict) or request.get("method") != method:
            continue
        for message in _messages(exchange):
            if message.get("id") == request.get("id") and ("result" in message or "error" in message):
                yield message


def _messages(exchange: Exchange) -> Iterator[dict[str, Any]]:
    raw = bytes(exchange.body)
    if exchange.media_type != "text/event-stream":
        value, _ = parse(raw)
        if isinstance(value, dict):
            yield value
        return
    for block in raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n\n"):
        lines = [line[5:].removeprefix(b" ") for line in block.split(b"\n") if line.startswith(b"data:")]
        value, _ = parse(b"\n".join(lines))
        if isinstance(value, dict):
            yield value


def fixture_absent(facts: Facts) -> str:
    """The check asked for something that the server does not list, and took what came for it."""
    kind, name = facts.scenario.fixture
    if not kind or not facts.found.lacks(facts.scenario.fixture):
        return ""
    return f"The server lists no {kind} {name}: what came is an answer to a name that it does not know"


def error_for_result(facts: Facts) -> str:
    """A tool's error has content of type text, like its result."""
    if facts.scenario.key == "tools-call-error" or facts.scenario.fixture[0] != "tool":
        return ""
    for message in answers(facts.outcome, "tools/call"):
        result = message.get("result")
        if isinstance(result, dict) and result.get("isError") is True:
            return "The tool answered with an error (isError), and the check took its text for the result"
    return ""


def empty_list(facts: Facts) -> str:
    """A rule for every item holds of no items."""
    count, noun = _LISTS.get(facts.scenario.key, ("", ""))
    if not count or facts.details.get(count) != 0:
        return ""
    return f"The list of {noun} is empty: there was nothing to check"


def progress_stands_still(facts: Facts) -> str:
    """The specification wants each value to be higher than the one before; the check lets them be equal."""
    if facts.scenario.key != "tools-call-with-progress":
        return ""
    values = [item.get("progress") for item in facts.details.get("progressNotifications") or () if item]
    numbers = [value for value in values if isinstance(value, int | float)]
    if all(later > earlier for earlier, later in pairwise(numbers)):
        return ""
    return "The progress does not grow from each notification to the next, as it must; the check let that pass"


def errors_on_streams(facts: Facts) -> str:
    """The check looks at the HTTP status alone, which is 200 for JSON-RPC errors too."""
    if facts.check.get("id") != "server-accepts-multiple-post-streams":
        return ""
    wrong = [m for m in answers(facts.outcome, "tools/list") if "error" in m]
    return f"{len(wrong)} of the answers are JSON-RPC errors with status 200, which is all the check reads" * bool(
        wrong
    )


def silence_on_streams(facts: Facts) -> str:
    """A stream on which nothing came within two seconds counts as one that works."""
    if facts.check.get("id") != "server-sse-streams-functional":
        return ""
    results = [r for r in facts.details.get("results") or () if isinstance(r, dict) and r.get("type") == "sse"]
    empty = [r for r in results if not isinstance(r.get("event"), dict) or not r["event"].get("data")]
    return f"{len(empty)} of {len(results)} streams carried no answer while the check looked" if empty else ""


def everything_rejected(facts: Facts) -> str:
    """A server that refuses every request refuses a foreign Host too."""
    if facts.check.get("id") != _REJECTED:
        return ""
    if any(c.get("id") == _ACCEPTED and c.get("status") == "SUCCESS" for c in facts.outcome.checks):
        return ""
    return "The server's own Host is refused as well: the refusal says nothing about the foreign one"


RULES: tuple[Rule, ...] = (
    fixture_absent,
    error_for_result,
    empty_list,
    progress_stands_still,
    errors_on_streams,
    silence_on_streams,
    everything_rejected,
)


def withdrawn(facts: Facts) -> tuple[str, str]:
    """Which rule takes this pass away, and why, in words; ("", "") when it stands."""
    if facts.check.get("status") == "SUCCESS":
        for rule in RULES:
            if reason := rule(facts):
                return rule.__name__, reason
    return "", ""


def stricter_than_the_specification(facts: Facts) -> str:
    """A failure that stands, with what the specification says about it; "" for all others."""
    problems = str(facts.check.get("errorMessage") or "").split("; ")
    if facts.scenario.key not in ("tools-list", "prompts-list") or facts.check.get("status") != "FAILURE":
        return ""
    if not all(problem.endswith("missing description") for problem in problems):
        return ""
    return "The official check asks for a description, which the specification leaves optional"
