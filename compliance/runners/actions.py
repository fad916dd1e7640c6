"""Writes on private runners by owners and admins. What a runner itself does with jobs is in leasing.py."""

from __future__ import annotations

import re
from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.utils import timezone

from compliance.jobs.models import Job, JobState
from compliance.jobs.queue import release_jobs
from compliance.registry.models import POOL_PATTERN, Placement, Runner, RunnerState
from compliance.runners.placement import monitors_of_last, monitors_placed_on
from compliance.tenancy.api_key_actions import make_runner_key, revoke_runner_keys
from compliance.tenancy.errors import Refused
from compliance.tenancy.models import Organization, User
from compliance.tenancy.names import required_name, save_named
from compliance.tenancy.roles import lock_organization, managing_membership
from compliance.tenancy.scope import organization_scope

NAMES_SHOWN = 5


def create_runner(*, organization: Organization, name: str, pool: str = "", by: User) -> tuple[Runner, str]:
    """A new private runner and its token, which is shown once. Raises NotAllowed or Refused."""
    with organization_scope(organization.id):
        lock_organization(organization.id)
        managing_membership(organization.id, by)
        runner = Runner(organization=organization, created_by=by.get_full_name())
        _name(runner, name, pool)
        save_named(runner, force_insert=True)
        return runner, _token(organization, runner, by)


def change_runner(*, organization: Organization, runner_id: UUID | str, name: str, pool: str, by: User) -> Runner:
    """Another name or pool. Work that is placed on the pool that it leaves is no longer its own; it ends without a run
    if nobody is left there (L14).

    Raises Refused for the last runner of a pool to which a monitor is placed that is not archived.
    """
    with organization_scope(organization.id):
        runner = _locked(organization, runner_id, by)
        left, needed_there = runner.pool, monitors_of_last(runner)
        _name(runner, name, pool)
        if left != runner.pool:
            _refuse_last(left, needed_there)
        save_named(runner, update_fields=["name", "pool"])
        if left and left != runner.pool:
            _hand_back(runner, pool=left)
            _end_what_waits_for(left, organization, "left")
        return runner


def new_token(*, organization: Organization, runner_id: UUID | str, by: User) -> tuple[Runner, str]:
    """Another token in place of the runner's old one, which stops to work at once. What it holds, it keeps."""
    with organization_scope(organization.id):
        runner = _locked(organization, runner_id, by)
        return runner, _token(organization, runner, by)


def disable_runner(*, organization: Organization, runner_id: UUID | str, by: User) -> Runner:
    """Give a runner no more work, and take back what it holds; its results are refused from now on (L3)."""
    with organization_scope(organization.id):
        runner = _locked(organization, runner_id, by)
        runner.change_state(RunnerState.DISABLED)
        _hand_back(runner)
        return runner


def enable_runner(*, organization: Organization, runner_id: UUID | str, by: User) -> Runner:
    """Trust a disabled runner again."""
    with organization_scope(organization.id):
        runner = _locked(organization, runner_id, by)
        runner.change_state(RunnerState.ACTIVE)
        return runner


def delete_runner(*, organization: Organization, runner_id: UUID | str, by: User) -> Runner:
    """End a runner for good. Its token stops to work, and what waited for it ends without a run (L14).

    Raises Refused while a monitor that is not archived is placed on it, or to a pool of which it is the last.
    """
    with organization_scope(organization.id):
        runner = _locked(organization, runner_id, by)
        placed = monitors_placed_on(runner)
        if placed:
            raise Refused(f"Monitors are placed on this runner: {_listed(placed)}. Move or archive them first.")
        _refuse_last(runner.pool, monitors_of_last(runner))
        runner.change_state(RunnerState.DELETED)
        _hand_back(runner)
        revoke_runner_keys(organization=organization, runner_id=runner.pk, by=by)
        for job in Job.objects.active().filter(runner_id=runner.pk):
            job.cancel(f"The private runner {runner.name} was deleted.")
        _end_what_waits_for(runner.pool, organization, "was deleted")
        return runner


def _end_what_waits_for(pool: str, organization: Organization, why: str) -> None:
    if pool and not Runner.objects.named_by(organization.id, Placement(pool=pool)).exists():
        for job in Job.objects.active().filter(organization=organization, pool=pool):
            job.cancel(f"The last private runner of the pool {pool} {why}.")


def _refuse_last(pool: str, placed: list[str]) -> None:
    if placed:
        raise Refused(
            f"This is the last runner of the pool “{pool}”, and monitors are placed on that: {_listed(placed)}."
            " Move or archive them first, or add another runner to the pool."
        )


def _listed(names: list[str]) -> str:
    shown = ", ".join(f"“{name}”" for name in names[:NAMES_SHOWN])
    return f"{shown} and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else shown


def _locked(organization: Organization, runner_id: UUID | str, by: User) -> Runner:
    # The organization first, as the tick does: whoever holds it may wait for a runner, and not the other way round.
    lock_organization(organization.id)
    managing_membership(organization.id, by)
    # The strongest lock: whoever works for the runner holds a share of it, and is waited for.
    return Runner.objects.not_deleted(organization.id).select_for_update(of=("self",)).get(pk=runner_id)


def _name(runner: Runner, name: str, pool: str) -> None:
    runner.name, runner.pool = required_name(name, "runner"), pool.strip().lower()
    if runner.pool and not re.fullmatch(POOL_PATTERN, runner.pool):
        raise Refused("A pool's name is of letters, digits and hyphens, begins with no hyphen, and has at most 60.")


def _token(organization: Organization, runner: Runner, by: User) -> str:
    expires = timezone.now() + timedelta(days=min(settings.RUNNER_TOKEN_DAYS, settings.API_KEY_MAX_DAYS))
    _, token = make_runner_key(organization=organization, runner_id=runner.pk, name=runner.name, expires=expires, by=by)
    return token


def _hand_back(runner: Runner, *, pool: str = "") -> None:
    """Put back what the runner holds: all of it, or what it has of a pool."""
    held = Job.objects.filter(leased_by=runner.pk, state=JobState.LEASED)
    if pool:
        held = held.filter(pool=pool)
    release_jobs(held.select_for_update(of=("self",)), counted=False)
