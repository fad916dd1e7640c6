"""The engine `adcp`: the official AdCP storyboard runner, npm package @adcp/sdk, as a program of its own."""

from .engine import AdcpEngine

__all__ = ["AdcpEngine"]
