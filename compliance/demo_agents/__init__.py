"""Local agents to try the system on: in good order, broken, guarded, slow, and down.

`python -m compliance.demo_agents --port-base 9100` serves all of them in one process. Nothing here imports Django.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DemoAgent:
    name: str
    title: str
    protocol: str  # "mcp" or "a2a"
    path: str
    description: str
    token: str = ""  # the bearer token that it accepts; a demo's, and no secret
    listens: bool = True
    example: str = ""  # of the npm package @adcp/sdk, when that is what is served
    suites: tuple[str, ...] = ("baseline",)  # which the demo tests it against when it is new

    def url(self, port: int, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{port}{self.path}"


AGENTS: tuple[DemoAgent, ...] = (
    DemoAgent("library", "City library", "mcp", "/mcp", "Catalogue and opening hours; in good order"),
    DemoAgent("weather", "Weather station", "mcp", "/mcp", "Publishes schemas that it does not keep to"),
    DemoAgent(
        "payroll",
        "Payroll",
        "mcp",
        "/mcp",
        "Wants a bearer token, and says where to get one",
        token="demo-payroll-token",  # noqa: S106
    ),
    DemoAgent("translator", "Translator", "a2a", "/", "Greets in several languages; in good order"),
    DemoAgent("shipping", "Shipping desk", "mcp", "/mcp", "Slow, and now and then in error"),
    DemoAgent("archive", "Old archive", "mcp", "/mcp", "Down: nothing listens at its address", listens=False),
    DemoAgent(
        "signals",
        "Audience signals",
        "mcp",
        "/mcp",
        "An example of the AdCP package, for the official storyboards",
        example="signals-agent",
        suites=("baseline", "adcp"),
    ),
)


def urls(port_base: int) -> dict[str, str]:
    """Where each agent is when all are served from one base: its place in the list added to the port."""
    return {agent.name: agent.url(port_base + index) for index, agent in enumerate(AGENTS)}
