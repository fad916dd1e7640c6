"""The baseline's questions to an A2A agent."""

from __future__ import annotations

from .run import Run


async def converse(run: Run) -> None:
    raise NotImplementedError
