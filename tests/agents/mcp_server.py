"""A small MCP server on one of the Python packages for it: `fastmcp` or `mcp`. Arguments: the package, a port.

It runs in an environment of its own (the requirements beside this file) and imports nothing of Assay. Its tool, its
resource and its prompts have the names that the official conformance scenarios ask for.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.metadata import version
from typing import Any

from mcp.types import ToolAnnotations

READS = {"readOnlyHint": True}
PACKAGE, PORT = sys.argv[1], int(sys.argv[2])


def make() -> Any:
    if PACKAGE == "fastmcp":
        return import_module("fastmcp").FastMCP("python")
    if version("mcp").startswith("1."):
        return import_module("mcp.server.fastmcp").FastMCP("python", host="127.0.0.1", port=PORT)
    return import_module("mcp.server.mcpserver").MCPServer("python")


server = make()


@server.tool(description="Says a simple text", annotations=ToolAnnotations.model_validate(READS))
def test_simple_text() -> str:
    return "This is a simple text response for testing."


@server.tool(description="Always fails")
def test_error_handling() -> str:
    raise ValueError("This tool intentionally returns an error for testing")


@server.resource("test://static-text", description="A text", mime_type="text/plain")
def static_text() -> str:
    return "This is the content of the static text resource."


@server.prompt(description="A prompt without arguments")
def test_simple_prompt() -> str:
    return "This is a simple prompt for testing."


@server.prompt(description="A prompt with arguments")
def test_prompt_with_arguments(arg1: str, arg2: str) -> str:
    return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"


if PACKAGE == "mcp" and version("mcp").startswith("1."):
    server.run(transport="streamable-http")
else:
    server.run(transport="streamable-http", host="127.0.0.1", port=PORT)
