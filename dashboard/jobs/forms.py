"""Where a job runs, as a field of forms: Assay's hosted workers, one private runner, or any runner of a pool."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django import forms

from compliance.models import Runner, RunnerState
from compliance.registry.models import HOSTED, Placement

_RUNNER, _POOL = "runner:", "pool:"


def placement_of(value: str) -> Placement:
    """The placement that a choice stands for. Raises ValueError for text that is no choice."""
    kind, _, key = value.partition(":")
    if kind == "runner":
        return Placement(runner_id=UUID(key))
    if kind == "pool":
        return Placement(pool=key)
    raise ValueError(value)


def value_of(placement: Placement) -> str:
    """The choice that stands for a placement."""
    if placement.runner_id:
        return f"{_RUNNER}{placement.runner_id}"
    return f"{_POOL}{placement.pool}" if placement.pool else ""


class SelectWithDisabled(forms.Select):
    """A select in which some values cannot be chosen. One that is chosen already stays so until it is changed."""

    disabled_values: frozenset[str] = frozenset()

    def create_option(
        self, name: str, value: Any, label: int | str, selected: bool, *args: Any, **kwargs: Any
    ) -> dict[str, Any]:
        option = super().create_option(name, value, label, selected, *args, **kwargs)
        # A browser does not send an option that is both selected and disabled: the job would become a hosted one.
        if str(value) in self.disabled_values and not selected:
            option["attrs"]["disabled"] = True
        return option


class PlacementField(forms.TypedChoiceField):
    """The value is a Placement.

    engine: the one that the job needs; runners that lack it are marked. placement: the placement so far, which stays a
    choice even if no runner of its pool is left.
    """

    widget = SelectWithDisabled

    def __init__(
        self, runners: Sequence[Runner], *, engine: str = "", placement: Placement = HOSTED, help_text: str = ""
    ) -> None:
        pools: dict[str, list[Runner]] = {placement.pool: []} if placement.pool else {}
        for runner in runners:
            if runner.pool:
                pools.setdefault(runner.pool, []).append(runner)
        choices: list[tuple[str, Any]] = [("", "Assay's hosted workers")]
        if runners:
            choices.append(
                (
                    "Private runners",
                    [(value_of(Placement(runner_id=runner.pk)), _runner_words(runner, engine)) for runner in runners],
                )
            )
        if pools:
            named = [(value_of(Placement(pool=pool)), _pool_words(pool, pools[pool], engine)) for pool in sorted(pools)]
            choices.append(("Any runner of a pool", named))
        super().__init__(
            label="Where it runs",
            required=False,
            help_text=help_text,
            choices=choices,
            coerce=placement_of,
            empty_value=HOSTED,  # type: ignore[arg-type]
            initial=placement,
        )
        assert isinstance(self.widget, SelectWithDisabled)
        self.widget.disabled_values = frozenset(
            [
                *(value_of(Placement(runner_id=runner.pk)) for runner in runners if _is_disabled(runner)),
                *(
                    value_of(Placement(pool=pool))
                    for pool, members in pools.items()
                    if members and all(map(_is_disabled, members))
                ),
            ]
        )

    def prepare_value(self, value: Any) -> Any:
        return value_of(value) if isinstance(value, Placement) else value


def _is_disabled(runner: Runner) -> bool:
    return runner.state == RunnerState.DISABLED


def _runner_words(runner: Runner, engine: str) -> str:
    lacks = engine and not _is_disabled(runner) and runner.lacks(engine)
    return f"{runner.name} ({f'lacks the engine {engine}' if lacks else runner.presence})"


def _pool_words(pool: str, members: Sequence[Runner], engine: str) -> str:
    enabled = [runner for runner in members if not _is_disabled(runner)]
    if members and not enabled:
        return f"{pool} (disabled)"
    if engine and enabled and all(runner.lacks(engine) for runner in enabled):
        return f"{pool} (lacks the engine {engine})"
    return f"{pool} ({sum(runner.is_online for runner in members)} of {len(members)} online)"
