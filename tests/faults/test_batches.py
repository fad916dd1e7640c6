"""Many monitors that are due at once: a few messages, and each of them runs once."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import redis

from compliance.models import ComplianceRun, Job, Monitor
from compliance.monitors.tick import create_due_monitor_jobs
from compliance.tenancy.actions import create_organization
from compliance.tenancy.scope import Actor, organization_scope, system_scope
from tests.conftest import make_context, make_user
from tests.processes import serving_demo_agents, wait_for, worker

pytestmark = pytest.mark.processes

MONITORS = 13


def look(model: Any) -> list[Any]:
    with system_scope(by=Actor.system("tests"), reason="look"):
        return list(model.objects.all())


@pytest.fixture(autouse=True)
def broker() -> Any:
    client = redis.Redis.from_url(os.environ["REDIS_URL"])
    client.flushdb()
    yield client
    client.flushdb()
    client.close()


def test_a_message_for_many_jobs_runs_each_of_them_once(
    committed_db: None, tmp_path: Path, broker: redis.Redis
) -> None:  # L1, L4
    from tests.compliance.monitors.conftest import make_due, make_monitor

    alice = make_user("alice@example.org", "Alice Owner")
    organization = create_organization(name="Alpha", by=alice)
    with serving_demo_agents(tmp_path / "agents.log") as agents:
        for number in range(MONITORS):
            context = make_context(organization, f"{agents['library']}?agent={number}", name=f"Agent {number}")
            make_due(make_monitor(organization, context, alice, name=f"Monitor {number}"))
        assert create_due_monitor_jobs() == {"allowed": MONITORS}
        assert broker.llen("assay:celery") == 2, "ten in a message"
        with worker(tmp_path / "worker.log"):
            jobs = wait_for(
                lambda: (found := look(Job)) and all(not one.is_active for one in found) and found,
                seconds=60,
                what="the end of every job",
            )
    assert Counter(job.state for job in jobs) == {"finished": MONITORS}
    assert Counter(run.overall_status for run in look(ComplianceRun)) == {"passing": MONITORS}
    assert {job.attempt for job in jobs} == {1}
    with organization_scope(organization.id):
        assert Monitor.objects.filter(last_run_id=None).count() == 0
