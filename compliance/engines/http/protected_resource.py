"""OAuth protected resource metadata: where an MCP server says that its tokens come from (RFC 9728)."""

from __future__ import annotations

import httpx2

from compliance.engines.http.challenges import named_metadata
from compliance.engines.http.exchange import Exchange
from compliance.engines.http.jsonrpc import parse
from compliance.engines.reports.builder import ReportBuilder


async def check_metadata(run: ReportBuilder, challenge: Exchange) -> None:
    """Read what RFC 9728 lets a client find out about where to get a token."""
    if not run.wants("mcp/auth"):
        return
    with run.step("mcp/auth", "metadata") as step:
        named = named_metadata(challenge)
        url = httpx2.URL(run.target.url)
        path = url.raw_path.decode("ascii").partition("?")[0].rstrip("/")
        candidates = [named] if named else [f"/.well-known/oauth-protected-resource{path}"]
        if not named and path:
            candidates.append("/.well-known/oauth-protected-resource")
        for candidate in candidates:
            try:
                address = str(url.join(candidate))
            except httpx2.InvalidURL:
                step.failed("The address in WWW-Authenticate is malformed")
                return
            answer = await run.http.send("GET", address, [(b"Accept", b"application/json")], with_credential=False)
            if answer.status == 200 or named:
                break
        if answer.fault is None and answer.status != 200 and not named:
            step.not_applicable("The agent publishes no protected resource metadata")
            return
        if problem := _metadata_problem(answer):
            step.failed(problem)
        else:
            step.passed("Names the resource and its authorization servers")


def _metadata_problem(answer: Exchange) -> str:
    if answer.fault is not None:
        return f"Could not be read: {answer.fault.message}"
    if answer.status != 200:
        return f"Answered with status {answer.status}"
    document, wrong = parse(bytes(answer.body))
    if wrong:
        return f"The document is {wrong}"
    if not isinstance(document, dict) or not isinstance(document.get("resource"), str):
        return "The document does not name its resource"
    servers = document.get("authorization_servers")
    if not isinstance(servers, list) or not servers or not all(isinstance(server, str) for server in servers):
        return "The document names no authorization servers"
    return ""
