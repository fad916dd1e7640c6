"""The organizations of a chaos run, and what their people do while it goes on: ask, hurry, pause, resume, cancel."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from django.db import DatabaseError, close_old_connections
from django.db.models import Exists, OuterRef, Q
from django.db.models.functions import Now

from compliance.jobs.actions import request_owner_test
from compliance.models import (
    Agent,
    AgentContext,
    Job,
    Monitor,
    Organization,
    User,
)
from compliance.monitors.actions import What, When, create_monitor, pause_monitor, resume_monitor, run_monitor_now
from compliance.registry.actions import register_agent
from compliance.registry.models import HOSTED, Placement
from compliance.runners.actions import create_runner
from compliance.tenancy.actions import create_organization
from compliance.tenancy.errors import NotAllowed, Refused
from compliance.tenancy.scope import organization_scope, platform_scope
from tests.chaos.stage import RUNNERS

POOL = "berlin"
EVERY_MINUTE = When(interval_minutes=1)
BY_CRON = When(cron="* * * * *", timezone="Europe/Berlin")
# Organization: (agent, schedule, where): "" is hosted, a runner's name that runner, the pool's any of it.
MONITORS: dict[str, list[tuple[str, When, str]]] = {
    "Alpha": [
        ("library", EVERY_MINUTE, ""),
        ("slow", BY_CRON, ""),
        ("slower", EVERY_MINUTE, ""),
        ("slowest", EVERY_MINUTE, ""),
        ("weather", EVERY_MINUTE, RUNNERS[0]),
        ("slow", EVERY_MINUTE, RUNNERS[0]),
    ],
    "Beta": [
        ("library", BY_CRON, POOL),
        ("slow", EVERY_MINUTE, POOL),
        ("slower", EVERY_MINUTE, POOL),
        ("slowest", BY_CRON, POOL),
        ("weather", BY_CRON, POOL),
        ("slower", EVERY_MINUTE, ""),
        ("slowest", EVERY_MINUTE, ""),
        ("translator", EVERY_MINUTE, ""),
    ],
    "Gamma": [
        ("slow", EVERY_MINUTE, ""),
        ("slower", BY_CRON, ""),
        ("slowest", EVERY_MINUTE, ""),
        ("shipping", EVERY_MINUTE, ""),
        ("archive", BY_CRON, ""),
    ],
}
WITH_RUNNERS = {"Alpha": {RUNNERS[0]: ""}, "Beta": {RUNNERS[1]: POOL, RUNNERS[2]: POOL}}


@dataclass
class House:
    organization: Organization
    owner: User
    contexts: list[AgentContext] = field(default_factory=list)
    monitors: list[Monitor] = field(default_factory=list)
    pins: list[Placement] = field(default_factory=lambda: [HOSTED])


def arrange(agents: dict[str, str]) -> tuple[list[House], dict[str, str]]:
    """Organizations with owners, agents, runners and monitors; returns them and the runners' tokens by name."""
    houses, tokens = [], {}
    for name, wanted in MONITORS.items():
        owner = User.objects.create_user(f"{name.lower()}@example.org", None, name=f"{name} Owner")
        house = House(create_organization(name=name, by=owner), owner)
        places = {"": HOSTED, POOL: Placement(pool=POOL)}
        for runner, pool in WITH_RUNNERS.get(name, {}).items():
            row, tokens[runner] = create_runner(organization=house.organization, name=runner, pool=pool, by=owner)
            places[runner] = Placement(runner_id=row.pk)
            house.pins.append(Placement(pool=pool) if pool else places[runner])
        contexts: dict[str, AgentContext] = {}
        for agent, when, where in wanted:
            if agent not in contexts:
                contexts[agent] = register_agent(
                    organization=house.organization, url=agents[agent], name=agent, by=owner
                )
            monitor = create_monitor(
                organization=house.organization,
                context_id=contexts[agent].pk,
                name=f"{agent} {where or 'hosted'}",
                suite_slug="baseline",
                when=when,
                what=What(placement=places[where]),
                by=owner,
            )
            house.monitors.append(monitor)
        house.contexts = list(contexts.values())
        houses.append(house)
    return houses, tokens


class People(threading.Thread):
    """Acts at random times until told to stop. What fails because a server is away is no fault."""

    def __init__(self, houses: list[House], *, seed: int) -> None:
        super().__init__(daemon=True, name="people")
        self.houses = houses
        self.chance = random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.faults: list[str] = []
        self._end = threading.Event()

    def run(self) -> None:
        deeds: list[tuple[Callable[[House], str], int]] = [
            (self._hurry, 12),
            (self._owner_test, 5),
            (self._run_now, 3),
            (self._hurry_heartbeat, 2),
            (self._resume, 2),
            (self._pause, 1),
            (self._cancel, 1),
        ]
        weights = [weight for _, weight in deeds]
        while not self._end.wait(self.chance.uniform(0.05, 0.5)):
            [(deed, _)] = self.chance.choices(deeds, weights)
            house = self.chance.choice(self.houses)
            close_old_connections()
            try:
                self.counts[deed(house)] += 1
            except (Refused, NotAllowed):
                self.counts["refused"] += 1
            except DatabaseError:
                self.counts["the database was away"] += 1
            except Exception as fault:
                self.faults.append(f"{deed.__name__}: {type(fault).__name__}: {fault}")
        close_old_connections()

    def stop(self) -> None:
        self._end.set()
        self.join(60)

    def _hurry(self, house: House) -> str:
        """Let some monitors be due now, whose next time is ahead: schedules are by the minute, and a run is short."""
        some = self.chance.sample(house.monitors, self.chance.randint(1, len(house.monitors)))
        active = Job.objects.active().filter(monitor_id=OuterRef("pk"))
        with organization_scope(house.organization.id):
            waiting = Monitor.objects.filter(pk__in=[monitor.pk for monitor in some], state="active")
            # The condition is asked once more of each row when it is locked.
            waiting.filter(next_run_at__gt=Now()).exclude(Exists(active)).update(next_run_at=Now())
        return "monitors hurried"

    def _hurry_heartbeat(self, house: House) -> str:
        context = self.chance.choice(house.contexts)
        with platform_scope():
            Agent.objects.filter(Q(pk=context.agent_id, next_heartbeat_at__gt=Now())).update(next_heartbeat_at=Now())
        return "heartbeats hurried"

    def _owner_test(self, house: House) -> str:
        context, placement = self.chance.choice(house.contexts), self.chance.choice(house.pins)
        request_owner_test(organization=house.organization, context_id=context.pk, by=house.owner, placement=placement)
        return "tests asked for"

    def _run_now(self, house: House) -> str:
        monitor = self.chance.choice(house.monitors)
        run_monitor_now(organization=house.organization, monitor_id=monitor.pk, by=house.owner)
        return "monitors run by hand"

    def _pause(self, house: House) -> str:
        monitor = self.chance.choice(house.monitors)
        pause_monitor(organization=house.organization, monitor_id=monitor.pk, by=house.owner)
        return "monitors paused"

    def _resume(self, house: House) -> str:
        for monitor in house.monitors:
            resume_monitor(organization=house.organization, monitor_id=monitor.pk, by=house.owner)
        return "monitors resumed"

    def _cancel(self, house: House) -> str:
        with organization_scope(house.organization.id):
            job = Job.objects.active().filter(organization=house.organization).first()
            if job is None or not job.cancel("Its owner thought better of it."):
                return "nothing to cancel"
        return "jobs cancelled"
