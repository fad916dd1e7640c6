"""What Celery calls for the agents."""

from __future__ import annotations

from celery import shared_task

from compliance.registry import actions


@shared_task
def detect_protocol(agent_url: str) -> None:
    """Ask the agent which protocol it speaks, and keep the answer."""
    actions.detect_protocol(agent_url=agent_url)
