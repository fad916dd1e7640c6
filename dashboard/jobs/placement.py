"""Where work runs, in words and as a choice: Assay's hosted workers, one private runner, or any of a pool."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any
from uuid import UUID

from django import forms
from django.utils.safestring import SafeString

from compliance.models import ComplianceRun, Runner, RunnerState
from compliance.registry.models import HOSTED, ExecutorKind, Pin
from dashboard.common.formatting import instant, lasting

HOSTED_WORDS = "Assay's hosted workers"
TRUST = "your organization's own evidence, never public status"
_RUNNER, _POOL = "runner:", "pool:"


def names_of(organization_id: str) -> dict[UUID, str]:
    """What the organization's runners are called, deleted ones too: past work names them. Needs the scope."""
    return dict(Runner.objects.filter(organization_id=organization_id).values_list("pk", "name"))


def kept_runners(organization_id: str) -> list[Runner]:
    """Those that work can be pinned to. Needs the organization's scope."""
    return list(Runner.objects.kept_by(organization_id))


def state_badge(runner: Runner) -> SafeString:
    """Online, offline, never connected, disabled or deleted."""
    if runner.state == RunnerState.DELETED:
        shape, words = "skipped", "Deleted"
    elif runner.state == RunnerState.DISABLED:
        shape, words = "skipped", "Disabled"
    elif runner.last_seen_at is None:
        shape, words = "never", "Never connected"
    elif runner.is_online:
        shape, words = "passed", "Online"
    else:
        shape, words = "failed", "Offline"
    return SafeString(f'<span class="v v-{shape}">{words}</span>')


def state_since(runner: Runner) -> SafeString:
    """For how long it has been so; empty for what has no beginning."""
    if runner.last_seen_at is None:
        return SafeString("")
    if runner.is_online:
        return SafeString(f"for {lasting(runner.online_since)}")
    if runner.state == RunnerState.ACTIVE:
        return SafeString(f"for {lasting(runner.last_seen_at)}")
    return SafeString(f"last heard of {instant(runner.last_seen_at)}")


def label_of(executor_name: str, link: str) -> SafeString:
    """A private runner's result by its level of trust, for lists; without a name where that stands beside it."""
    words = escape(f"Private runner {executor_name}".rstrip())
    return SafeString(f'<a class="v v-private" href="{escape(link)}" title="{words}: {escape(TRUST)}">{words}</a>')


class ExecutorSelect(forms.Select):
    """A select in which a disabled runner cannot be chosen. What is chosen already stays so until it is changed:
    a browser sends no option that is disabled, and the work would be hosted without a word."""

    closed: frozenset[str] = frozenset()

    def create_option(
        self, name: str, value: Any, label: int | str, selected: bool, *args: Any, **kwargs: Any
    ) -> dict[str, Any]:
        option = super().create_option(name, value, label, selected, *args, **kwargs)
        if str(value) in self.closed and not selected:
            option["attrs"]["disabled"] = True
        return option


class ExecutorField(forms.ChoiceField):
    """Where to run. A form without runners to choose from takes it out."""

    widget = ExecutorSelect

    def offer(self, runners: Sequence[Runner], *, engine: str = "", pin: Pin = HOSTED) -> None:
        """Let one choose among these; see choices_among."""
        self.choices = choices_among(runners, engine=engine, pin=pin)
        assert isinstance(self.widget, ExecutorSelect)
        self.widget.closed = closed_among(runners)

    def __init__(self, *, help_text: str = "A private runner reaches agents inside your network.") -> None:
        super().__init__(label="Where it runs", required=False, choices=[("", HOSTED_WORDS)], help_text=help_text)


def choices_among(runners: Sequence[Runner], *, engine: str = "", pin: Pin = HOSTED) -> list[tuple[str, Any]]:
    """The choices of an ExecutorField.

    engine: which one the work needs; who lacks it is marked. pin: one that stays a choice whatever became of it.
    """
    choices: list[tuple[str, Any]] = [("", HOSTED_WORDS)]
    if runners:
        choices.append(
            ("Private runners", [(f"{_RUNNER}{runner.pk}", _words(runner, engine)) for runner in runners]),
        )
    pools = {runner.pool for runner in runners if runner.pool} | ({pin.pool} if pin.pool else set())
    if pools:
        named = [(f"{_POOL}{pool}", _pool_words(pool, runners, engine)) for pool in sorted(pools)]
        choices.append(("Any runner of a pool", named))
    return choices


def closed_among(runners: Sequence[Runner]) -> frozenset[str]:
    """The choices that nobody can make now: disabled runners, and pools with none but these."""
    disabled = {runner for runner in runners if runner.state == RunnerState.DISABLED}
    pools = {runner.pool for runner in disabled} - {runner.pool for runner in runners if runner not in disabled}
    return frozenset([*(f"{_RUNNER}{runner.pk}" for runner in disabled), *(f"{_POOL}{pool}" for pool in pools if pool)])


def _words(runner: Runner, engine: str) -> str:
    if runner.state == RunnerState.DISABLED:
        state = "disabled"
    elif runner.last_seen_at is None:
        state = "never connected"
    elif engine and runner.lacks(engine):
        state = f"lacks the engine {engine}"
    else:
        state = "online" if runner.is_online else "offline"
    return f"{runner.name} ({state})"


def _pool_words(pool: str, runners: Iterable[Runner], engine: str) -> str:
    members = [runner for runner in runners if runner.pool == pool]
    enabled = [runner for runner in members if runner.state != RunnerState.DISABLED]
    if members and not enabled:
        return f"{pool} (disabled)"
    if engine and enabled and all(runner.lacks(engine) for runner in enabled):
        return f"{pool} (lacks the engine {engine})"
    online = sum(runner.is_online for runner in members)
    return f"{pool} ({online} of {len(members)} online)"


def pin_of(value: str) -> Pin:
    """The choice as the ledger knows it. Raises ValueError for text that is none."""
    if value.startswith(_RUNNER):
        return Pin(runner_id=UUID(value.removeprefix(_RUNNER)))
    if value.startswith(_POOL):
        return Pin(pool=value.removeprefix(_POOL))
    if value:
        raise ValueError(value)
    return HOSTED


def value_of(pin: Pin) -> str:
    """The choice that stands for a pin."""
    if pin.runner_id:
        return f"{_RUNNER}{pin.runner_id}"
    return f"{_POOL}{pin.pool}" if pin.pool else ""


def where(pin: Pin, names: Mapping[UUID, str], base: str) -> SafeString:
    """A pin in words, with a link to its runner. base: the organization's address, such as "/o/alpha/"."""
    if pin.runner_id:
        name = escape(names.get(pin.runner_id, "unknown"))
        return SafeString(f'Private runner <a href="{base}runners/{pin.runner_id}/">{name}</a>')
    if pin.pool:
        return SafeString(f'Any private runner of the pool <a href="{base}runners/">{escape(pin.pool)}</a>')
    return SafeString(HOSTED_WORDS)


def is_private(run: ComplianceRun) -> bool:
    return run.executor_kind == ExecutorKind.PRIVATE
