"""The demo's MCP servers, written as anybody would write them with the SDK."""

from __future__ import annotations

import asyncio
import random
from datetime import date, timedelta
from typing import Annotated, Any

import mcp_types as types
from mcp.server import MCPServer
from mcp.server.auth.provider import AccessToken
from mcp.server.auth.settings import AuthSettings
from mcp.server.lowlevel import Server
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import ToolAnnotations
from pydantic import AnyHttpUrl, BaseModel, Field
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from compliance.demo_agents import AGENTS

READS = ToolAnnotations(read_only_hint=True)


class Book(BaseModel):
    isbn: str
    title: str
    author: str
    year: int
    copies: int = Field(ge=0, description="On the shelf now")


class Hours(BaseModel):
    day: str
    opens: str
    closes: str


BOOKS = (
    Book(isbn="9780141439518", title="Pride and Prejudice", author="Jane Austen", year=1813, copies=3),
    Book(isbn="9780141439471", title="Frankenstein", author="Mary Shelley", year=1818, copies=1),
    Book(isbn="9780486282114", title="Flatland", author="Edwin A. Abbott", year=1884, copies=0),
    Book(isbn="9780199535675", title="The Time Machine", author="H. G. Wells", year=1895, copies=2),
)


def library(url: str) -> Starlette:
    server = MCPServer(
        "city-library",
        title="City library",
        version="2.4.0",
        instructions="Search before you reserve.",
        log_level="WARNING",
    )

    @server.tool(annotations=READS)
    def search_catalogue(
        words: Annotated[str, Field(description="Words of the title or the author")],
        limit: Annotated[int, Field(ge=1, le=50)] = 10,
    ) -> list[Book]:
        """Find books by title or author."""
        wanted = words.lower().split()
        found = [b for b in BOOKS if all(word in f"{b.title} {b.author}".lower() for word in wanted)]
        return found[:limit]

    @server.tool(annotations=READS)
    def opening_hours() -> list[Hours]:
        """When the library is open this week."""
        days = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday")
        return [Hours(day=day, opens="09:00", closes="18:00") for day in days]

    @server.tool(annotations=READS)
    def new_arrivals() -> list[Book]:
        """The newest books."""
        return sorted(BOOKS, key=lambda book: -book.year)[:2]

    @server.tool(annotations=ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=True))
    def reserve(isbn: str, card_number: str) -> dict[str, str]:
        """Reserve a copy for a reader."""
        if not any(book.isbn == isbn and book.copies for book in BOOKS):
            raise ToolError("There is no copy to reserve")
        return {"isbn": isbn, "card_number": card_number, "until": str(date.today() + timedelta(days=7))}

    @server.resource("library://rules", mime_type="text/plain")
    def rules() -> str:
        """The house rules."""
        return "Quiet, please. Four weeks for each book."

    @server.resource("library://books/{isbn}", mime_type="application/json")
    def book(isbn: str) -> str:
        """One book of the catalogue."""
        return next((b.model_dump_json() for b in BOOKS if b.isbn == isbn), "null")

    @server.prompt()
    def recommend(mood: str) -> str:
        """Ask for a recommendation."""
        return f"Recommend one book of this library to a reader who feels {mood}, and say why in two sentences."

    return server.streamable_http_app()


def weather(url: str) -> Starlette:
    """Published by hand rather than from types, and so not in keeping with them."""
    tools = [
        types.Tool(
            name="current_weather",
            description="The weather right now",
            input_schema={"type": "object", "properties": {}},
            output_schema={
                "type": "object",
                "properties": {"celsius": {"type": "number"}, "sky": {"type": "string"}},
                "required": ["celsius", "sky"],
            },
            annotations=READS,
        ),
        types.Tool(
            name="forecast",
            description="The weather of the next days",
            input_schema={
                "type": "object",
                "properties": {"days": {"type": "int", "minimum": "1"}},
                "required": ["days"],
            },
        ),
        types.Tool(
            name="warnings",
            description="Storm warnings",
            input_schema={"type": "object", "properties": {"region": {"$ref": "#/$defs/Region"}}},
        ),
    ]

    async def list_tools(context: Any, params: Any) -> types.ListToolsResult:
        return types.ListToolsResult(tools=tools)

    async def call_tool(context: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        # Answers whatever it is asked, also under names that it does not have.
        return types.CallToolResult(
            content=[types.TextContent(type="text", text="12 degrees and cloudy")],
            structured_content={"celsius": "12", "clouds": True},
        )

    server: Server[Any] = Server("weather-station", version="0.9.1", on_list_tools=list_tools, on_call_tool=call_tool)
    return server.streamable_http_app()


class OneToken:
    def __init__(self, token: str) -> None:
        self._token = token

    async def verify_token(self, token: str) -> AccessToken | None:
        if token != self._token:
            return None
        return AccessToken(token=token, client_id="demo", scopes=["payroll:read"])


def payroll(url: str) -> Starlette:
    token = next(agent.token for agent in AGENTS if agent.name == "payroll")
    server = MCPServer(
        "payroll",
        version="1.1.0",
        log_level="WARNING",
        token_verifier=OneToken(token),
        auth=AuthSettings(
            issuer_url=AnyHttpUrl("https://login.example.com"),
            resource_server_url=AnyHttpUrl(url),
            required_scopes=["payroll:read"],
            validate_token_resource=False,
        ),
    )

    @server.tool(annotations=READS)
    def next_payday() -> dict[str, str]:
        """The next day on which wages are paid."""
        today = date.today()
        first_of_next = (today.replace(day=1) + timedelta(days=32)).replace(day=1)
        return {"date": str(first_of_next - timedelta(days=1))}

    @server.tool(annotations=READS)
    def payslip(employee: str, month: str) -> dict[str, str]:
        """One payslip."""
        return {"employee": employee, "month": month, "net": "2,100.00"}

    return server.streamable_http_app()


class Unreliable:
    """Lets some requests wait, and answers some with an error, by a seeded dice."""

    def __init__(self, app: ASGIApp, seed: int, slowest: float, errors: float) -> None:
        self.app = app
        self._dice = random.Random(seed)  # noqa: S311 -- a demo's hiccups, not a secret
        self._slowest = slowest
        self._errors = errors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await asyncio.sleep(self._dice.uniform(self._slowest / 4, self._slowest))
            if self._dice.random() < self._errors:
                await JSONResponse({"error": "upstream timed out"}, 503)(scope, receive, send)
                return
        await self.app(scope, receive, send)


def shipping(url: str, seed: int = 7, slowest: float = 1.2, errors: float = 0.08) -> Starlette:
    server = MCPServer("shipping-desk", version="3.0.2", log_level="WARNING")

    @server.tool(annotations=READS)
    def carriers() -> list[str]:
        """The carriers that this desk books with."""
        return ["Postal service", "Bicycle courier", "Sea freight"]

    @server.tool(annotations=READS)
    def quote(kilograms: float, country: str) -> dict[str, float]:
        """What a parcel costs."""
        return {"price": round(4.5 + kilograms * (1.2 if country == "DE" else 3.4), 2)}

    app = server.streamable_http_app()
    app.user_middleware.insert(0, Middleware(Unreliable, seed=seed, slowest=slowest, errors=errors))
    return app
