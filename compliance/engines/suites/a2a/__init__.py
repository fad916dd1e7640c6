"""What the A2A specification demands of agents: our own checks of it, and the official compatibility kit."""

from compliance.engines.suites.a2a.engine import A2AEngine

__all__ = ["A2AEngine"]
