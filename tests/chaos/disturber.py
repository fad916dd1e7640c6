"""What goes wrong, and when: a plan that a seed decides, and the hand that carries it out."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

import psycopg
import redis

from compliance.embedded.postgres import DATABASE
from tests.chaos.stage import BAD_NETWORK, LEASE_SECONDS, OFFLINE_AFTER_SECONDS, RUNNERS, Player, Stage


@dataclass(frozen=True)
class Deed:
    """One disturbance: how long after the start, what, whom (a number that chooses), and for how long."""

    after: float
    what: str
    whom: int
    seconds: float

    def __str__(self) -> str:
        return f"{self.after:6.1f} s  {self.what} ({self.whom}, {self.seconds:.1f} s)"


_ALL_DUE = """
    UPDATE monitors m SET next_run_at = now() WHERE m.state = 'active' AND m.next_run_at > now()
        AND NOT EXISTS (SELECT FROM compliance_jobs r WHERE r.monitor_id = m.id AND r.state IN ('queued', 'leased'))
"""
# From here the plan is drawn, bag after bag, so that even a short run sees each of them.
BAG = [
    *["kill hosted"] * 2,
    *["freeze hosted"] * 2,
    *["stall database"] * 4,
    "cut database",
    *["kill runner"] * 2,
    *["freeze runner"] * 2,
    "kill runner for long",
    "kill web",
    "freeze web",
    "kill beat",
    "freeze beat",
    "flush redis",
    "restart redis",
    "restart postgres",
    "crash postgres",
    "cut network",
    "blackhole network",
    "delay network",
    *["stall network"] * 3,
    *["lose answers"] * 2,
    *["many ticks at once"] * 3,
]


def plan(seed: int, seconds: float) -> list[Deed]:
    """The same seed and length give the same plan, on any machine."""
    chance = random.Random(seed)
    mean = min(1.6, 0.9 * seconds / len(BAG))
    deeds: list[Deed] = []
    after, bag = 1.0, list[str]()
    while True:
        if not bag:
            bag = chance.sample(BAG, len(BAG))
        after += chance.uniform(0.3 * mean, 1.7 * mean)
        if after >= seconds:
            return deeds
        deeds.append(Deed(after, bag.pop(), chance.randrange(1000), chance.random()))


class Disturber:
    """Carries deeds out. `seconds` of a deed, from 0 to 1, says where between least and most its length is."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.counts = stage.counts
        self._deeds: dict[str, Callable[[Deed], bool]] = {
            "kill hosted": lambda deed: self._kill(deed, "hosted", 0.5, 4.0),
            "kill runner": lambda deed: self._kill(deed, "runner", 0.2, 4.0),
            "kill runner for long": lambda deed: self._kill(
                deed, "runner", OFFLINE_AFTER_SECONDS + 2, OFFLINE_AFTER_SECONDS + 8
            ),
            "kill web": lambda deed: self._kill(deed, "web", 0.2, 3.0),
            "kill beat": lambda deed: self._kill(deed, "beat", 0.5, 5.0),
            "freeze hosted": lambda deed: self._freeze(deed, "hosted"),
            "freeze runner": lambda deed: self._freeze(deed, "runner"),
            "freeze web": lambda deed: self._freeze(deed, "web"),
            "freeze beat": lambda deed: self._freeze(deed, "beat"),
            "stall database": self._stall,
            "cut database": self._cut_database,
            "flush redis": self._flush_redis,
            "restart redis": self._restart_redis,
            "restart postgres": self._restart_postgres,
            "crash postgres": self._crash_postgres,
            "cut network": self._cut,
            "blackhole network": self._blackhole,
            "delay network": self._delay,
            "stall network": self._stall_network,
            "lose answers": self._lose,
            "many ticks at once": self._many_ticks,
        }

    def carry_out(self, deed: Deed) -> None:
        """Do it, or count that there was nothing to do it to."""
        self.counts[deed.what if self._deeds[deed.what](deed) else "(nobody to disturb)"] += 1

    def calm_down(self) -> None:
        """Everything runs again, and the network is whole."""
        for network in (*self.stage.relays.values(), *self.stage.pipes.values()):
            network.heal()
        self.stage.stall_at_answer = 0.0
        for player in self.stage.players.values():
            if player.wake_at is not None:
                player.wake()
            if player.back_at is not None:
                player.back_at = time.monotonic()
        if self.stage.redis_back_at is not None:
            self.stage.redis_back_at = time.monotonic()
        self.stage.tend()

    def _victim(self, deed: Deed, kind: str) -> Player | None:
        up = [player for player in self.stage.of_kind(kind) if player.is_up]
        return up[deed.whom % len(up)] if up else None

    def _kill(self, deed: Deed, kind: str, least: float, most: float) -> bool:
        victim = self._victim(deed, kind)
        if victim is not None:
            victim.kill(back_after=least + deed.seconds * (most - least))
        return victim is not None

    def _freeze(self, deed: Deed, kind: str) -> bool:
        victim = self._victim(deed, kind)
        if victim is not None:
            victim.freeze(LEASE_SECONDS * (1.3 + 1.2 * deed.seconds))
        return victim is not None

    def _flush_redis(self, deed: Deed) -> bool:
        if self.stage.redis_back_at is not None:
            return False
        client = redis.Redis.from_url(self.stage.services.redis.url)
        client.flushall()
        client.close()
        return True

    def _restart_redis(self, deed: Deed) -> bool:
        if self.stage.redis_back_at is not None:
            return False
        self.stage.services.redis.kill()
        self.stage.redis_back_at = time.monotonic() + 0.5 + 3 * deed.seconds
        return True

    def _restart_postgres(self, deed: Deed) -> bool:
        self.stage.services.postgres.stop()  # fast: open transactions are rolled back
        time.sleep(deed.seconds)
        self.stage.services.postgres.start()
        return True

    def _crash_postgres(self, deed: Deed) -> bool:
        self.stage.services.postgres.kill()  # immediate: the next start replays the log
        time.sleep(2 * deed.seconds)
        self.stage.services.postgres.start()
        return True

    def _stall(self, deed: Deed) -> bool:
        """What a worker sends to the database arrives when its leases have run out."""
        seconds = LEASE_SECONDS * (1.5 + 0.7 * deed.seconds)
        if deed.whom % 4:  # mostly when a result is just about to be sent
            self.stage.stall_at_answer = seconds
        else:
            list(self.stage.pipes.values())[deed.whom % 2].stall(seconds)
        return True

    def _cut_database(self, deed: Deed) -> bool:
        """Maybe between a commit and the word of it."""
        list(self.stage.pipes.values())[deed.whom % 2].cut()
        return True

    def _relay(self, deed: Deed) -> str:
        """Mostly the one whose network is bad."""
        return RUNNERS[deed.whom % len(RUNNERS)] if deed.whom % 10 < 4 else BAD_NETWORK

    def _cut(self, deed: Deed) -> bool:
        self.stage.relays[self._relay(deed)].cut()
        return True

    def _blackhole(self, deed: Deed) -> bool:
        self.stage.relays[self._relay(deed)].blackhole(2 + 3 * LEASE_SECONDS * deed.seconds)
        return True

    def _delay(self, deed: Deed) -> bool:
        self.stage.relays[self._relay(deed)].delay(3 + 7 * deed.seconds)
        return True

    def _stall_network(self, deed: Deed) -> bool:
        """What a runner has sent arrives when its leases have run out, and another of its pool may have them."""
        self.stage.relays[self._relay(deed)].stall(LEASE_SECONDS * (1.5 + 1.5 * deed.seconds))
        return True

    def _many_ticks(self, deed: Deed) -> bool:
        """As many beats would send them, when everything that rests is due at once (L1, G5)."""
        from compliance.jobs.dispatch import send  # a plan is made before Django is set up

        if self.stage.redis_back_at is not None:
            return False
        with psycopg.connect(
            self.stage.services.postgres.superuser_url, dbname=DATABASE, application_name="people.2"
        ) as connection:
            connection.execute(_ALL_DUE)
        for _ in range(12):
            send("compliance.monitors.tasks.tick")
        return True

    def _lose(self, deed: Deed) -> bool:
        self.stage.relays[self._relay(deed)].lose_next_answers(1 + deed.whom % 3)
        return True
