"""Tests that staff ask for: the platform's own, of one agent, beside its heartbeats."""

from __future__ import annotations

from compliance.jobs import dispatch
from compliance.jobs.actions import suite_to_run
from compliance.jobs.models import Job
from compliance.jobs.queue import has_room, insert_jobs
from compliance.registry.models import Agent
from compliance.runs.models import ComplianceRun, TriggeredBy
from compliance.suites.models import STATUS_SUITE
from compliance.tenancy.errors import Refused
from compliance.tenancy.scope import Actor, platform_scope


def request_platform_test(*, agent_url: str, suite_slug: str = STATUS_SUITE, by: Actor) -> tuple[Job, bool]:
    """Create a job that tests an agent for the platform, and dispatch it once that is committed.

    agent_url: normalized. by: a staff member, or the command line; whether they may is for the caller to know.
    Its run belongs to no organization, moves the public status as a heartbeat's does, and leaves the heartbeats' times
    as they are. No organization's credential is used: what was granted was granted to heartbeats.
    Returns the job and whether it is new: one that is under way is returned. Raises Refused for an agent that no
    organization has, for a suite that cannot be run, and while the agent's owner allows no more tests.
    """
    with platform_scope():
        agent = Agent.objects.filter(pk=agent_url, registrations__gt=0).first()
        if agent is None:
            raise Refused(f"No organization has registered {agent_url}.")
        job = Job(
            agent=agent,
            triggered_by=TriggeredBy.MANUAL,
            **by.as_fields(),
            suite_version=suite_to_run(suite_slug),
        )
        like = Job.objects.active().filter(
            agent=agent, suite_version=job.suite_version, triggered_by=TriggeredBy.MANUAL, organization=None
        )
        under_way = like.first()
        while under_way is None:
            if not has_room(agent):
                raise Refused(f"The owner of {agent_url} allows {agent.max_at_once} of its tests at once.")
            if insert_jobs([job]):
                dispatch.after_commit(dispatch.HEARTBEATS)
                return job, True
            under_way = like.first()  # None once it has ended in the moment between
        return under_way, False


def after_platform_test(job: Job, run: ComplianceRun) -> None:
    """Keep the protocol that the run has proven, as a heartbeat does, and move no heartbeat."""
    if run.found_protocol(job.agent):
        Agent.objects.filter(pk=job.agent_id).update(protocol=run.protocol)
