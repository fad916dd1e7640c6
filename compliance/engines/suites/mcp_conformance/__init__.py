"""The official conformance scenarios for MCP servers, run by the official runner."""

from compliance.engines.suites.mcp_conformance.engine import ConformanceEngine

__all__ = ["ConformanceEngine"]
