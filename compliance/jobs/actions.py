"""Asking for a test of an agent: what a person, a key or a command may ask for."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterable, Mapping
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction

from compliance.database import call
from compliance.jobs import dispatch
from compliance.jobs.dispatch import notify_executors
from compliance.jobs.models import CredentialChoice, Job, JobState, expires
from compliance.jobs.queue import has_room, insert_jobs
from compliance.registry.actions import register_agent
from compliance.registry.models import HOSTED, AgentContext, ExecutorKind, Placement, Runner, RunnerState
from compliance.runs.models import TriggeredBy
from compliance.suites.health import read_availability
from compliance.suites.models import Suite, SuiteVersion
from compliance.tenancy.api_keys import Principal
from compliance.tenancy.errors import Invalid, Refused
from compliance.tenancy.models import Organization
from compliance.tenancy.roles import managing_membership, membership_to_test
from compliance.tenancy.scope import Actor, organization_scope
from compliance.vault.models import Credential

TEXT_LENGTH = 2000
_ENABLE = "Owners and admins can enable runners in their settings. Until then choose where else the test runs."
_INSTALL = (
    "On the runner's machine, install assay-runner with its extra “node” and run “assay-runner install-engines”, which"
    " bring the official runners of AdCP and MCP; “assay-runner engines” says what any engine needs. Then start the"
    " runner anew, or choose where else the test runs."
)


class PlacementRefused(Refused):
    """The private runner, or the pool, that was chosen cannot take the test."""


class QueueFull(PlacementRefused):
    """As many tests wait for the private runner, or the pool, as may."""


def add_agent(*, organization: Organization, url: str, name: str = "", by: Principal) -> AgentContext:
    """Register an agent, and have its protocol detected once that is committed. Raises as register_agent does."""
    context = register_agent(organization=organization, url=url, name=name, by=by)
    dispatch.after_commit(dispatch.DETECT, context.agent_id)
    return context


def request_owner_test(
    *,
    organization: Organization,
    context_id: UUID | str,
    by: Principal | Actor,
    suite_slug: str = "baseline",
    scenarios: Collection[str] = (),
    options: Mapping[str, Any] | None = None,
    all_evidence: bool = False,
    dry_run: bool = False,
    credential: UUID | CredentialChoice = CredentialChoice.AUTOMATIC,
    placement: Placement = HOSTED,
) -> tuple[Job, bool]:
    """Create a job that tests an agent, and dispatch it once that is committed.

    Returns the job and whether it is new: the one under way is returned when there is one.
    An observer's test is an observer_test. scenarios: only these; such a run moves no status. options: the
    suite's own, by key; all_evidence: keep the exchanges of steps that passed too. credential: a chosen one's
    id, CredentialChoice.NONE, or AUTOMATIC for the one that is granted. placement: where it is to run.
    Raises NotAllowed for a person who is not a member and for a key that may not, Refused for a suite that is not
    there or that no worker can run, for options that it does not have, for a credential that is not there, and
    while a test with other options or another credential is under way, PlacementRefused for private runners that are
    disabled or lack the suite's engine, and QueueFull, which is one, while too many tests wait for them, and
    AgentContext.DoesNotExist for an agent that the organization does not have.
    """
    with organization_scope(organization.id):
        if not isinstance(by, Actor):
            membership_to_test(organization.id, by)
            by = by.as_actor()
        # Locked, so that the agent is not removed before the job that its removal would cancel is there.
        context = (
            AgentContext.objects.select_related("agent")
            .select_for_update(no_key=True, of=("self",))
            .get(organization=organization, pk=context_id)
        )
        version = suite_to_run(suite_slug, placement)
        if placement.is_private:
            refuse_placement(organization.id, placement, version.engine)
        choice, credential_id = credential, None
        if isinstance(credential, UUID):
            choice, credential_id = CredentialChoice.CHOSEN, credential
        if credential_id and not Credential.objects.not_deleted(organization.id).filter(pk=credential_id).exists():
            raise Refused("There is no such credential. Choose another.")
        job = Job(
            organization=organization,
            agent_id=context.agent_id,
            triggered_by=TriggeredBy.OWNER_TEST if context.is_verified_owner else TriggeredBy.OBSERVER_TEST,
            **by.as_fields(),
            suite_version=version,
            dry_run=dry_run,
            options=chosen(version.definition, scenarios=scenarios, options=options, all_evidence=all_evidence),
            credential_choice=str(choice),
            credential_id=credential_id,
            executor_kind=placement.kind,
            runner_id=placement.runner_id,
            pool=placement.pool,
            expires_at=expires(placement),
        )
        active = (
            Job.objects.active()
            .filter(organization=organization, agent_id=context.agent_id, suite_version=version, dry_run=dry_run)
            .exclude(triggered_by=TriggeredBy.MONITOR)
        )
        if not has_room(context.agent) and not active.exists():
            most = context.agent.max_at_once
            raise Refused(f"The agent's owner allows {most} of its tests at once, heartbeats included. Ask again soon.")
        full = placement.is_private and _queue_is_full(organization.id, placement)
        while full or not _inserted(job):
            under_way = active.select_related("suite_version__suite").first()
            if under_way is not None:
                if under_way.options != job.options:
                    raise Refused(
                        "A test of other scenarios, or with other options, is under way. Ask again when it has ended."
                    )
                if (under_way.credential_choice, under_way.credential_id) != (
                    job.credential_choice,
                    job.credential_id,
                ):
                    raise Refused("A test with another credential is under way. Ask again when it has ended.")
                if under_way.placement != placement:
                    raise Refused("A test by another executor is under way. Ask again when it has ended.")
                return under_way, False
            if full:
                raise QueueFull(_full(placement))
            # It ended in the moment between: a new one can be created.
        notify_executors([job])
        return job, True


def cancel_job(*, organization: Organization, job_id: UUID | str, by: Principal) -> Job:
    """End a job without a run; what an executor has under way is discarded. One that is cancelled stays so.

    Who may ask for a test may end one; a monitor's run is for who manages. Raises NotAllowed, Refused for one that
    has ended, or Job.DoesNotExist.
    """
    with organization_scope(organization.id):
        known = Job.objects.select_related("suite_version__suite")
        job = known.get(organization=organization, pk=job_id)
        if job.triggered_by == TriggeredBy.MONITOR:
            managing_membership(organization.id, by)
        else:
            membership_to_test(organization.id, by)
        if not job.cancel(f"Cancelled by {by.get_full_name()}."):
            job = known.get(pk=job.pk)
            if job.state != JobState.CANCELLED:
                raise Refused("The test has ended already.")
        return job


def _full(placement: Placement) -> str:
    where = f"the pool “{placement.pool}”" if placement.pool else "this private runner"
    most = settings.PRIVATE_QUEUE_MAX_JOBS
    tests = "1 test waits" if most == 1 else f"{most} tests wait"
    return f"{tests} for {where} already, and no more may. Ask again when some were taken, or cancel some."


def _queue_is_full(organization_id: str, placement: Placement) -> bool:
    """Whether as many tests wait for a private runner, or a pool, as people and keys may ask of it.

    Nobody else finds out, or adds one, until the transaction ends.
    """
    # No row's lock: the organization's would make the tick pass over it, and the runners' would hold up polls.
    whose = f"{organization_id}:{placement.runner_id or placement.pool}"
    call("pg_advisory_xact_lock", 2, zlib.crc32(whose.encode()) - 2**31)
    waiting = Job.objects.filter(
        organization_id=organization_id,
        executor_kind=ExecutorKind.PRIVATE,
        state=JobState.QUEUED,
        runner_id=placement.runner_id,
        pool=placement.pool,
    ).exclude(triggered_by=TriggeredBy.MONITOR)
    return bool(waiting.count() >= settings.PRIVATE_QUEUE_MAX_JOBS)


def _inserted(job: Job) -> bool:
    try:
        with transaction.atomic():
            return bool(insert_jobs([job]))
    except IntegrityError:
        if not job.placement.is_private:
            raise
        # The database looks whether there is a runner for it, under a lock.
        raise Refused("There is no such private runner. Choose another.") from None


def why_waiting(placement: Placement, engine: str, runners: Iterable[Runner]) -> str:
    """Why none of a placement's runners can run an engine's suite, such as “City box lacks the engine adcp.”

    runners: those that the placement names. "" when one can, as far as is known; being offline is no reason here.
    """
    runners = [runner for runner in runners if runner.state != RunnerState.DELETED]
    enabled = [runner for runner in runners if runner.state == RunnerState.ACTIVE]
    if runners and not enabled:
        name = f"Every runner of the pool “{placement.pool}”" if placement.pool else runners[0].name
        return f"{name} is disabled."
    if enabled and all(runner.lacks(engine) for runner in enabled):
        if placement.pool:
            return f"No runner of the pool “{placement.pool}” has the engine {engine}."
        return f"{enabled[0].name} lacks the engine {engine}."
    return ""


def refuse_placement(organization_id: str, placement: Placement, engine: str) -> None:
    """Raise PlacementRefused, with what to do, for private runners of which none can take what needs the engine.

    Needs the organization's scope. One that was never online has listed no engines yet: it may have this one.
    """
    runners = list(Runner.objects.named_by(organization_id, placement))
    why = why_waiting(placement, engine, runners)
    if why:
        remedy = _INSTALL if any(runner.state == RunnerState.ACTIVE for runner in runners) else _ENABLE
        raise PlacementRefused(f"{why} {remedy}")


def suite_to_run(slug: str, placement: Placement = HOSTED) -> SuiteVersion:
    """The suite's current version. Raises Refused, with the reason, for one that cannot be run now.

    What a private runner can run, refuse_placement asks.
    """
    suite = Suite.objects.with_current_version().filter(slug=slug).first()
    if suite is None or suite.current_version is None:
        raise Invalid("suite", f"There is no suite “{slug}”.")
    problem = "" if placement.is_private else read_availability().problem(suite.current_version.engine)
    if problem:
        raise Refused(f"{suite.title} cannot be run now. {problem}")
    return suite.current_version


def chosen(
    definition: Mapping[str, Any],
    *,
    scenarios: Collection[str] = (),
    options: Mapping[str, Any] | None = None,
    all_evidence: bool = False,
) -> dict[str, Any]:
    """A job's options: only what differs from what the suite does by itself, so that equal jobs are equal.

    scenarios: only these; options: by key; all_evidence: keep the exchanges of steps that passed too.
    Raises Refused for what the suite does not have.
    """
    known = {scenario["key"] for track in definition.get("tracks", ()) for scenario in track["scenarios"]}
    unknown = sorted(set(scenarios) - known)
    if unknown:
        raise Refused(f"The suite has no scenario “{unknown[0]}”.")
    defaults = {key: value for key, value in definition.get("options", {}).items() if key != "scenarios"}
    chosen_options: dict[str, Any] = {}
    for key, value in (options or {}).items():
        if key not in defaults:
            raise Refused(f"The suite has no option “{key}”.")
        if not _is_like(value, defaults[key]):
            raise Refused(f"“{value}” is no value for the option “{key}”.")
        if value != defaults[key]:
            chosen_options[key] = value
    if scenarios and set(scenarios) != known:
        chosen_options["scenarios"] = sorted(set(scenarios))
    if all_evidence:
        chosen_options["evidence"] = "all"
    return chosen_options


def _is_like(value: Any, default: Any) -> bool:
    """Whether the value is of the default's kind; an option without a default is text."""
    if isinstance(default, bool):
        return isinstance(value, bool)
    if isinstance(default, int | float):
        return isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(default, list):
        return isinstance(value, list) and all(_is_like(item, "") for item in value)
    return isinstance(value, str) and len(value) <= TEXT_LENGTH
