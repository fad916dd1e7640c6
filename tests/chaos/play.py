"""One chaos run from the first process to the verdict."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import psycopg
from django.db import connections

from compliance.embedded.postgres import DATABASE
from compliance.runs.status import rebuild_statuses
from compliance.tenancy.scope import Actor
from tests.chaos.checks import Row, checks
from tests.chaos.disturber import Deed, Disturber
from tests.chaos.people import People, arrange
from tests.chaos.stage import CLOCK_OFF_SECONDS, MAX_ATTEMPTS, OFF_CLOCK, Stage, add_runners, start_everything
from tests.chaos.witness import Witness

STILL_SECONDS = 90.0  # nothing has happened for so long: what is open then stays open
SETTLE_MOST_SECONDS = 420.0
ROWS_SHOWN = 10


def play(stage: Stage, deeds: list[Deed], *, seconds: float, seed: int, say: Callable[[str], None]) -> int:
    """Arrange, disturb for so long, calm down, settle, check. Returns the exit code."""
    witness = Witness(stage.services.postgres.superuser_url, DATABASE)
    witness.install()
    houses, tokens = arrange(stage.agents)
    connections.close_all()  # this thread's would be cut before it is used again
    add_runners(stage, tokens)
    start_everything(stage)
    say(f"{len(stage.players)} processes and 2 servers run; {len(deeds)} disturbances are planned")
    people, disturber = People(houses, seed=seed), Disturber(stage)
    people.start()
    try:
        _disturb(stage, disturber, deeds, seconds)
    finally:
        people.stop()
    disturber.calm_down()
    say("calm; waiting until everything has come to its end")
    settled_in, problems = _settle(stage, witness)
    problems |= _look_at_processes(stage, people, witness)
    stage.stop_everything("beat", "runner", "hosted", "web")
    problems |= {"what runners kept is delivered": _left_in_folders(stage)}
    counts = {"disturbances": stage.counts, "people": people.counts, "recorded": _recorded(stage, witness)}
    for check, look in checks(most_attempts=MAX_ATTEMPTS).items():
        problems[check] = look(witness, stage.books)
    problems["each agent's status is what its runs say"] = [
        {"agent": url, "stored": stored, "derived": derived}
        for url, stored, derived in rebuild_statuses(mend=False, by=Actor.system("chaos"))
    ]
    connections.close_all()
    witness.close()
    errors = _errors_in_logs(stage)
    problems["no exceptions but those of servers that are away"] = [
        {"exception": name, "times": times} for name, times in errors.items() if name.split(": ")[1] not in _OF_AWAY
    ]
    _say_summary(say, counts, settled_in, errors)
    return _say_verdict(say, problems)


def _disturb(stage: Stage, disturber: Disturber, deeds: list[Deed], seconds: float) -> None:
    started = time.monotonic()
    waiting = list(reversed(deeds))
    while time.monotonic() < started + seconds:
        stage.tend()
        if waiting and time.monotonic() >= started + waiting[-1].after:
            disturber.carry_out(waiting.pop())
        else:
            time.sleep(0.05)


# What is to come is put off to tomorrow: what is due now has no company any more, and comes to its end.
_PUT_OFF = """
    UPDATE monitors m SET interval_minutes = 1440, cron = '', anchor = date_trunc('second', now()),
        next_run_at = date_trunc('second', now()) + interval '1 day'
    WHERE m.state = 'active' AND m.next_run_at BETWEEN now() + interval '1 second' AND now() + interval '1 hour'
        AND NOT EXISTS (SELECT FROM compliance_jobs r WHERE r.monitor_id = m.id AND r.state IN ('queued', 'leased'))
"""
_OPEN = """
    SELECT (SELECT count(*) FROM compliance_jobs WHERE state IN ('queued', 'leased'))
        + (SELECT count(*) FROM monitors WHERE state = 'active' AND next_run_at < now() + interval '1 hour')
        + (SELECT count(*) FROM agents WHERE next_heartbeat_at <= now()) AS open
"""
_HAPPENED = "SELECT coalesce(max(id), 0) AS last FROM witness.events"


def _settle(stage: Stage, witness: Witness) -> tuple[float, dict[str, list[Row]]]:
    """Wait until nothing is open, while there is progress; returns how many seconds it took, and what did not end."""
    url = stage.services.postgres.superuser_url
    started = moved = time.monotonic()
    last = 0
    while True:
        stage.tend()
        now = time.monotonic()
        try:
            with psycopg.connect(url, dbname=DATABASE, application_name="people.1") as connection:
                connection.execute(_PUT_OFF)
            happened, left = witness.number(_HAPPENED), witness.number(_OPEN) + len(_left_in_folders(stage))
        except psycopg.OperationalError:
            time.sleep(1)
            continue
        if happened != last:
            last, moved = happened, now
        if not left:
            return now - started, {}
        if now - moved > STILL_SECONDS or now - started > SETTLE_MOST_SECONDS:
            why = f"{left} things are open after {now - started:.0f} s; the last event was {now - moved:.0f} s ago"
            return now - started, {"everything comes to its end": [{"why": why}]}
        time.sleep(0.5)


def _left_in_folders(stage: Stage) -> list[Row]:
    files = (stage.folder / "runners").glob("*/*/*")
    return [{"file": str(file)} for file in sorted(files)]


def _look_at_processes(stage: Stage, people: People, witness: Witness) -> dict[str, list[Row]]:
    """Questions to what still runs."""
    ready = []
    for player in stage.of_kind("web"):
        url = f"http://127.0.0.1:{player.program.environment()['PORT']}/readyz"
        status = _status(url)
        if status != 200:
            ready.append({"url": url, "status": status})
    off = witness.rows("SELECT name, clock_ahead_ms FROM runners WHERE name = %(name)s", name=OFF_CLOCK)
    return {
        "processes end only when they are killed": [{"which": words} for words in stage.ended_by_themselves()],
        "people meet no fault but a server that is away": [{"fault": fault} for fault in people.faults],
        "the web servers are ready": ready,
        "the clock of a runner was an hour off": [
            row for row in off if abs(row["clock_ahead_ms"] / 1000 - CLOCK_OFF_SECONDS) > 120
        ],
    }


def _status(url: str) -> int | str:
    deadline = time.monotonic() + 60
    while True:
        try:
            with urlopen(url, timeout=10) as answer:
                return int(answer.status)
        except OSError as error:
            if time.monotonic() > deadline:
                return str(error)
        time.sleep(0.5)


def _recorded(stage: Stage, witness: Witness) -> Counter[str]:
    """What there is on record at the end."""
    rows = witness.rows(
        """
        SELECT 'runs ' || overall_status || ', ' || executor_kind AS what, count(*)
            FROM agent_compliance_runs GROUP BY 1
        UNION ALL
        SELECT 'jobs ' || state || ', ' || triggered_by, count(*) FROM compliance_jobs GROUP BY 1
        UNION ALL SELECT 'decisions ' || outcome, count(*) FROM monitor_decisions GROUP BY 1
        UNION ALL SELECT 'attempts beyond the first', sum(greatest(attempt - 1, 0)) FROM compliance_jobs
        UNION ALL SELECT 'occurrences due', count(DISTINCT (key, before ->> 'next_run_at')) FROM witness.events
            WHERE source = 'monitors' AND (before ->> 'next_run_at')::timestamptz <= at
                AND before ->> 'next_run_at' IS DISTINCT FROM after ->> 'next_run_at'
        UNION ALL SELECT 'heartbeats due', count(*) FROM witness.events
            WHERE source = 'agents' AND (before ->> 'next_heartbeat_at')::timestamptz <= at
        UNION ALL SELECT 'pieces of evidence', count(*) FROM step_evidence
        """
    )
    counts = Counter({row["what"]: int(row["count"] or 0) for row in rows})
    answers = [answer for answer in stage.books.answered if answer.call == "complete"]
    counts["results of runners taken"] = sum(answer.status == 200 for answer in answers)
    counts["results of runners discarded as late"] = sum(answer.status == 409 for answer in answers)
    counts["answers to results lost on the way"] = sum(relay.lost_answers for relay in stage.relays.values())
    return counts


# What a process says whose database, broker or server went away under it.
_OF_AWAY = {
    *("OperationalError", "InterfaceError", "AdminShutdown", "ConnectionTimeout", "SchedulingError"),
    *("ConnectionError", "ConnectionRefusedError", "ConnectionResetError", "BrokenPipeError", "BusyLoadingError"),
    *("TimeoutError", "CancelledError", "LeaseLost"),
}
# The last of a chain of exceptions: what came before it was dealt with.
_ERROR = re.compile(
    r"^(?:[a-z_0-9]+\.)*([A-Z]\w*(?:Error|Exception|Lost|Refused|Timeout)\w*)\b"
    r"(?![^\n]*\n(?:(?!\[?\d{4}-|Traceback|  File)[^\n]+\n)*\n(?:During handling|The above exception))",
    re.MULTILINE,
)


def _errors_in_logs(stage: Stage) -> Counter[str]:
    """How often which exception stands at the end of a trace."""
    counts: Counter[str] = Counter()
    for log in sorted((stage.folder / "log").glob("*.log")):
        kind = Path(log).stem.split("-")[0]
        counts.update(f"{kind}: {name}" for name in _ERROR.findall(log.read_text(errors="replace")))
    return counts


def _say_summary(
    say: Callable[[str], None], counts: dict[str, Counter[str]], settled_in: float, errors: Counter[str]
) -> None:
    for title, numbers in counts.items():
        say(f"\n{title}")
        for what, number in sorted(numbers.items()):
            say(f"  {number:6}  {what}")
    say("\nexceptions in the logs")
    for what, number in sorted(errors.items()):
        say(f"  {number:6}  {what}")
    say(f"\nsettled {settled_in:.0f} s after the last disturbance")


def _say_verdict(say: Callable[[str], None], problems: dict[str, list[dict[str, Any]]]) -> int:
    say("\nchecked")
    for check, rows in problems.items():
        say(f"  {'FAILS' if rows else 'holds'}  {check}")
        for row in rows[:ROWS_SHOWN]:
            say("         " + ", ".join(f"{name}={value}" for name, value in row.items()))
        if len(rows) > ROWS_SHOWN:
            say(f"         and {len(rows) - ROWS_SHOWN} more")
    return 1 if any(problems.values()) else 0
