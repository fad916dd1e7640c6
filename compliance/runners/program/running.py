"""One leased request, from the lease to the answer that goes back."""

from __future__ import annotations

import asyncio
import logging
import threading
from dataclasses import dataclass, field, replace

from compliance.engines import Credential, Limits, Notice, Report, Target, engine_health, get_engine
from compliance.engines import Progress as EngineProgress
from compliance.engines.execution.loop import abandon_loop, engine_loop, overdue_words, plain_progress, run_to_the_end
from compliance.engines.process.capacity import Room
from compliance.engines.reports.validation import BadReport, accepted
from compliance.runners.program import allowing
from compliance.runners.program.backoff import Backoff
from compliance.runners.program.client import Client, Refused, Unavailable, as_bytes
from compliance.runners.program.clock import moment, now
from compliance.runners.program.logs import Hider
from compliance.runners.program.problems import Problem
from compliance.runners.program.secretsfile import Secrets, made
from compliance.runners.program.state import Letter
from compliance.runners.program.wire import Lease, Progress

log = logging.getLogger(__name__)

GRACE_SECONDS = 10.0  # past a run's deadline, for closing what is open; then it is cut off
_LOOK_SECONDS = 1.0  # how often somebody looks whether a run's loop is blocked


@dataclass(slots=True)
class Flight:
    """A lease at work."""

    lease: Lease
    held_until: float  # on clock.now(): later the server may have given the request to somebody else
    progress: Progress | None = None
    why_stopped: str = ""  # set before it is cancelled
    task: asyncio.Task[None] | None = None
    idle: threading.Event = field(default_factory=threading.Event)  # set when no engine works on it (any more)

    def __post_init__(self) -> None:
        self.idle.set()


@dataclass(frozen=True, slots=True)
class Workshop:
    """What every run needs."""

    client: Client
    allowed: tuple[str, ...]
    secrets: Secrets
    room: Room
    hider: Hider


class _Instead(Exception):
    """The request ends without a run."""


async def answer(flight: Flight, shop: Workshop) -> Letter:
    """Do what the lease asks for; returns what to tell the server. Raises Problem, or CancelledError."""
    lease = flight.lease
    try:
        refused = await allowing.refusal(shop.allowed, lease.agent_url)
        if refused:
            log.warning("%s is not tested: %s", lease.agent_url, refused)
            report, source = _refused(lease, refused), "none"
        else:
            health = await asyncio.to_thread(engine_health, lease.engine)
            if not health.available:
                raise _Instead(f"this runner cannot run the engine {lease.engine}: {health.reason}")
            credential, source, notice = await _credential(flight, shop)
            report = await _run(flight, shop, credential)
            if notice is not None:
                report = replace(report, notices=(notice, *report.notices))
        body = {
            "report": accepted(report, engine=lease.engine, suite=lease.suite).to_json(),
            "credential": {"source": source},
        }
        as_bytes(body)  # what cannot be written is found out here, where it ends this request and nothing else
    except _Instead as instead:
        return _failed(lease, shop.hider.hide(str(instead)))
    except BadReport as bad:
        return _failed(lease, f"the engine {lease.engine} returned what is no report: {bad}")
    except Problem:
        raise
    except Exception as error:
        # An engine that raises is a fault of ours, never of the agent (R7). The message may quote the agent.
        log.exception("the engine %s broke on %s", lease.engine, lease.agent_url)
        return _failed(lease, f"{type(error).__name__} in the engine {lease.engine}")
    return Letter("complete", lease.job_id, lease.token, lease.agent_url, body, moment())


def failed(job_id: str, token: str, agent_url: str, reason: str) -> Letter:
    return Letter("fail", job_id, token, agent_url, {"reason": reason[:300]}, moment())


def _failed(lease: Lease, reason: str) -> Letter:
    log.error("%s: %s", lease.agent_url, reason)
    return failed(lease.job_id, lease.token, lease.agent_url, reason)


def _refused(lease: Lease, reason: str) -> Report:
    mend = "Whoever runs the runner adds it with --allow or in the --allow-file."
    notices = (Notice("refused", f"{reason}. {mend}"[:1000]),)
    return Report.broken(lease.engine, lease.suite, lease.protocol, reason[:300], refused=True, notices=notices)


async def _credential(flight: Flight, shop: Workshop) -> tuple[Credential | None, str, Notice | None]:
    """The credential, where it came from, and a notice when the run goes without the one that it wants."""
    lease, wanted = flight.lease, flight.lease.credential
    own = shop.secrets.by_name(wanted.name) if wanted is not None else None
    own = own or shop.secrets.for_agent(lease.agent_url)
    if own is not None:
        return own, "runner", None
    if wanted is None:
        return None, "none", None
    reason = f"This runner's secrets file has none for the agent{f' or for “{wanted.name}”' if wanted.name else ''}"
    if wanted.may_be_released:
        try:
            return await _released(lease, shop), "assay", None
        except Refused as refused:
            reason += f", and Assay does not release it: {refused}"
    else:
        reason += ", and Assay may not release it"
    reason = f"{reason.rstrip('.')}."
    if wanted.required:
        raise _Instead(f"the credential that the test wants is not there. {reason}")
    return None, "none", Notice("without_credential", f"Tested without a credential. {reason}"[:1000])


async def _released(lease: Lease, shop: Workshop) -> Credential:
    """Asks for as long as the lease is held: losing it cancels this. Raises Refused."""
    backoff = Backoff(most=10.0)
    while True:
        try:
            released = await shop.client.credential(lease.job_id, lease.token)
            break
        except Unavailable as away:
            log.warning("the credential for %s: %s", lease.agent_url, away)
            await asyncio.sleep(backoff.failed(away.retry_after))
    shop.hider.learn((released.value, *released.secrets))
    try:
        plain = made(released.header, released.value, released.secrets, "released")
    except Problem as problem:
        raise Refused(200, "unusable", problem.what) from None
    return replace(
        plain,
        organization_id=released.organization_id,
        credential_id=released.credential_id,
        name=released.name,
    )


def _target(lease: Lease, shop: Workshop, credential: Credential | None) -> Target:
    return Target(
        url=lease.agent_url,
        suite=lease.suite,
        protocol=lease.protocol,
        options={key: value for key, value in lease.options.items() if key != "evidence"},
        all_evidence=lease.all_evidence,
        suite_version=lease.suite_version,
        run_key=lease.job_id,
        deadline=lease.deadline_seconds,
        limits=Limits(step_seconds=lease.step_seconds),
        allow=allowing.for_engines(shop.allowed),
        credential=credential,
    )


async def _run(flight: Flight, shop: Workshop, credential: Credential | None) -> Report:
    """The engine's report. The engine runs on a loop of its own, so that none holds up the renewals."""
    lease = flight.lease
    engine, target = get_engine(lease.engine), _target(lease, shop, credential)
    most = lease.deadline_seconds + GRACE_SECONDS
    loop = engine_loop(lease.engine)
    place = shop.room.reserve(engine.memory_mb)
    try:
        if not place.held:
            flight.progress = Progress("Waiting for room on the runner", 0, 1)
            await place.wait()  # before the run's own clock starts; the lease is renewed meanwhile
        flight.progress = Progress("Reaching the agent", 0, 1)

        def on_step(progress: EngineProgress) -> None:
            plain = plain_progress(progress)
            flight.progress = Progress(plain.step, plain.done, plain.total)

        started = threading.Event()

        async def work() -> Report:
            started.set()
            try:
                return await run_to_the_end(engine, target, seconds=most, on_step=on_step)
            finally:
                # Here and not where it is waited for: a cancelled engine holds its memory for a moment yet.
                place.release()
                flight.idle.set()

        flight.idle.clear()
        gives_up_at = now() + most + GRACE_SECONDS
        waiting = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work(), loop))
    except BaseException:
        place.release()
        raise
    try:
        while not waiting.done():
            await asyncio.wait([waiting], timeout=_LOOK_SECONDS)
            if not waiting.done() and now() > gives_up_at:
                log.error("the engine %s blocks its loop; %s is given up", lease.engine, lease.agent_url)
                abandon_loop(lease.engine, loop)
                place.release()  # the blocked loop will not come to it
                flight.idle.set()
                words = overdue_words(lease.engine)
                return Report.broken(lease.engine, lease.suite, lease.protocol, words, truncated=True)
        return waiting.result()
    finally:
        if not waiting.done():
            waiting.cancel()
            if not started.is_set():
                place.release()
                flight.idle.set()
