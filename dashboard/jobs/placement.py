"""Where work runs, in words. What is left here goes into templates."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from uuid import UUID

from django.utils.safestring import SafeString

from compliance.models import Runner, RunnerState
from compliance.registry.models import Pin
from dashboard.common.formatting import instant, lasting


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


def where(pin: Pin, names: Mapping[UUID, str], base: str) -> SafeString:
    """A pin in words, with a link to its runner. base: the organization's address, such as "/o/alpha/"."""
    if pin.runner_id:
        name = escape(names.get(pin.runner_id, "unknown"))
        return SafeString(f'Private runner <a href="{base}runners/{pin.runner_id}/">{name}</a>')
    if pin.pool:
        return SafeString(f'Any private runner of the pool <a href="{base}runners/">{escape(pin.pool)}</a>')
    return SafeString("Assay's hosted workers")
