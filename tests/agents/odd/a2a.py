"""A2A agents in good order, but for one thing each."""

from __future__ import annotations

from tests.agents.odd.table import OddAgent

ROWS: list[OddAgent] = []
