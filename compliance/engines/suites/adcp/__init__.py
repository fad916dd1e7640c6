"""The engine `adcp`: the official AdCP storyboard runner, npm package @adcp/sdk, as a program of its own."""

from compliance.engines.suites.adcp.engine import AdcpEngine

__all__ = ["AdcpEngine"]
