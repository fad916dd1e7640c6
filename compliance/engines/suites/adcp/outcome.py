"""What the driver of the official runner said, line by line, and what became of the run."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from compliance.engines.contract import OnStep, Progress


class RunnerOutput:
    """Collects the driver's lines while it runs. What it printed before it broke still counts as seen."""

    def __init__(self, clean: Callable[[str], str], on_step: OnStep | None) -> None:
        self.labels: dict[str, str] = {}
        self.planned: dict[str, dict[str, Any]] = {}  # storyboards by id, in the order in which they will run
        self.results: dict[str, dict[str, Any]] = {}  # storyboards by id, in the order in which they ran
        self.end: dict[str, Any] | None = None
        self.error: dict[str, str] | None = None
        self.garbled = False  # a line that is not the driver's
        self._clean = clean
        self._on_step = on_step

    def line(self, raw: bytes) -> None:
        try:
            said = json.loads(raw)
            at = said["at"]
        except (ValueError, TypeError, KeyError, RecursionError):
            self.garbled = True
            return
        if at == "step":
            self._step(said)
        elif at == "plan":
            self.planned.update((one["id"], one) for one in said["storyboards"])
        elif at == "storyboard":
            self.results[said["id"]] = said
        elif at == "start":
            self.labels = said["labels"]
        elif at == "end":
            self.end = said
        elif at == "error":
            self.error = said
        else:
            self.garbled = True

    def _step(self, said: dict[str, Any]) -> None:
        if self._on_step is None:
            return
        title = f"{said['storyboard']}: {said['step']}" if said["step"] else said["storyboard"]
        self._on_step(Progress(self._clean(title), said["done"], max(said["total"], said["done"] + 1)))
