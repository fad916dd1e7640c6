"""The loop that runs leased jobs: slots, lost leases, engines that break or block, and its end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from compliance.engines import Health, Progress, Report, Target
from compliance.engines.execution.loop import Access, CannotRun, Execution, ExecutionLoop, JobSource
from compliance.engines.process.capacity import Capacity
from tests.conftest import make_report


@dataclass(frozen=True)
class Lease:
    token: int
    engine: str = "baseline"

    @property
    def agent_url(self) -> str:
        return f"https://agent.example/{self.token}"


@dataclass(eq=False)
class Jobs(JobSource[Lease]):
    """A source with so many jobs."""

    waiting: list[Lease]
    asked: list[int] = field(default_factory=list)
    ended: dict[int, Report] = field(default_factory=dict)
    gone: dict[int, str] = field(default_factory=dict)  # leases that are lost at the next renewal
    loses: threading.Event | None = None  # not before this is set
    renewed: list[list[int]] = field(default_factory=list)
    access_of: Any = None

    renewal_pause = 0.02
    pause = 0.02

    async def lease(self, at_most: int) -> Sequence[Lease]:
        self.asked.append(at_most)
        taken, self.waiting = self.waiting[:at_most], self.waiting[at_most:]
        return taken

    def target(self, lease: Lease) -> Target:
        return Target(lease.agent_url, deadline=0.2)

    async def access(self, execution: Execution[Lease]) -> Access:
        return self.access_of(execution) if self.access_of else Access()

    async def renew(self, executions: Sequence[Execution[Lease]]) -> Mapping[int, str]:
        self.renewed.append([execution.lease.token for execution in executions])
        if self.loses is not None and not self.loses.is_set():
            return {}
        gone, self.gone = self.gone, {}
        return gone

    async def complete(self, execution: Execution[Lease], report: Report) -> None:
        self.ended[execution.lease.token] = report


class Engine:
    name, version, memory_mb = "baseline", "1", 0

    def __init__(self) -> None:
        self.at_once = self.most = 0
        self.go_on, self.waits, self.cancelled = threading.Event(), threading.Event(), threading.Event()

    def health(self) -> Health:
        return Health(True)

    async def run(self, target: Target, *, on_step: Any = None) -> Report:
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        try:
            if on_step is not None:
                on_step(Progress("Working", 1, 2))
            await asyncio.sleep(0.02)
            match target.url[-1]:
                case "7":
                    raise ValueError("secret of the agent")
                case "8":
                    self.waits.set()
                    await asyncio.sleep(60)
                case "9":
                    self.go_on.wait(20)  # blocks its loop
            return make_report("passed")
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        finally:
            self.at_once -= 1


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    made = Engine()
    monkeypatch.setattr("compliance.engines.execution.loop.get_engine", lambda name: made)
    return made


def loop_of(jobs: Jobs, concurrency: int = 4) -> ExecutionLoop[Lease]:
    return ExecutionLoop(jobs, concurrency=concurrency, capacity=Capacity(1000), grace_seconds=0.1, until_empty=True)


async def test_all_jobs_are_run_and_never_more_at_once_than_allowed(engine: Engine) -> None:
    jobs = Jobs([Lease(number * 10) for number in range(9)])
    await loop_of(jobs, concurrency=3).run()
    assert sorted(jobs.ended) == [number * 10 for number in range(9)]
    assert {report.overall() for report in jobs.ended.values()} == {"passing"}
    assert (engine.most, max(jobs.asked)) == (3, 3)


async def test_an_engine_that_raises_breaks_its_own_run_and_is_not_quoted(engine: Engine) -> None:  # R7, V1
    jobs = Jobs([Lease(7), Lease(1)])
    await loop_of(jobs).run()
    assert jobs.ended[7].harness_error == "ValueError in the engine baseline"
    assert jobs.ended[1].overall() == "passing"


async def test_a_lease_that_is_lost_stops_its_run_and_sends_nothing(engine: Engine) -> None:
    jobs = Jobs([Lease(8), Lease(1)], gone={8: "somebody else has it"}, loses=engine.waits)
    await loop_of(jobs).run()
    assert sorted(jobs.ended) == [1]
    assert await asyncio.to_thread(engine.cancelled.wait, 20)
    assert jobs.renewed[0] == [8, 1]


async def test_an_engine_that_blocks_its_loop_is_given_up_and_the_next_run_gets_another(engine: Engine) -> None:
    jobs = Jobs([Lease(9), Lease(1)])
    loop = loop_of(jobs, concurrency=1)
    await loop.run()
    engine.go_on.set()
    assert jobs.ended[9].truncated
    assert jobs.ended[9].harness_error == "the engine baseline did not end in time"
    assert jobs.ended[1].overall() == "passing"


async def test_a_run_without_the_access_that_it_wants_ends_before_its_engine_begins(engine: Engine) -> None:
    def access(execution: Execution[Lease]) -> Access:
        if execution.lease.token == 1:
            raise CannotRun("there is no credential")
        return Access(instead=execution.broken("the credential was refused"))

    jobs = Jobs([Lease(1), Lease(2)], access_of=access)
    await loop_of(jobs).run()
    assert [jobs.ended[n].harness_error for n in (1, 2)] == ["there is no credential", "the credential was refused"]
    assert engine.most == 0


async def test_what_the_source_raises_ends_the_loop_and_its_runs(engine: Engine) -> None:
    class Broken(Jobs):
        async def lease(self, at_most: int) -> Sequence[Lease]:
            if self.asked:
                await asyncio.to_thread(engine.waits.wait, 20)
                raise OSError("no queue")
            return await super().lease(at_most)

    jobs = Broken([Lease(8)])
    with pytest.raises(OSError, match="no queue"):
        await loop_of(jobs).run()
    assert jobs.ended == {}
    assert await asyncio.to_thread(engine.cancelled.wait, 20)
