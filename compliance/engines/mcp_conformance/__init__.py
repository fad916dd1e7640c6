"""The official conformance scenarios for MCP servers, run by the official runner."""

from .engine import ConformanceEngine

__all__ = ["ConformanceEngine"]
