"""What happened to something of an organization. Packages publish it without knowing who listens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from django.db import models


class Priority(models.TextChoices):
    LOW = "low", "Low"
    NORMAL = "normal", "Normal"
    HIGH = "high", "High"


class Channel(models.TextChoices):
    """How an organization is notified."""

    IN_APP = "in_app", "In Assay"
    MESSAGE = "message", "By message"
    BOTH = "both", "Both"


class Subject(models.TextChoices):
    """What an event is about, and so which page it leads to."""

    RUNNER = "runner", "Private runner"
    MONITOR = "monitor", "Monitor"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that an organization should hear of."""

    organization_id: str
    subject: str  # a value of Subject
    subject_id: UUID
    text: str
    occasion: str  # what is published again for the same occasion is the same event
    priority: str = Priority.NORMAL


Listener = Callable[[Event], None]
_listeners: list[Listener] = []


def subscribe(listener: Listener) -> None:
    """Call the listener with every event from now on, in the transaction that publishes it."""
    if listener not in _listeners:
        _listeners.append(listener)


def publish(event: Event) -> None:
    """Hand an event to all listeners, in the transaction that is open."""
    for listener in _listeners:
        listener(event)
