"""The server as the execution loop's source of jobs: polls, renewals, credentials and answers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from compliance import __version__
from compliance.engines import Credential, Limits, Notice, Progress, Report, Target, engine_health
from compliance.engines.contract import engine_options
from compliance.engines.execution.loop import Access, CannotRun, Execution, JobSource
from compliance.engines.process.capacity import Capacity
from compliance.engines.reports.validation import BadReport, accepted
from compliance.runners.program import allowlist
from compliance.runners.program.api import Lease, OfferedCredential, Work
from compliance.runners.program.client import Client, Refused, Unavailable, as_bytes
from compliance.runners.program.delivery import Delivery
from compliance.runners.program.logs import SecretFilter
from compliance.runners.program.problems import Exit, Problem
from compliance.runners.program.secrets_file import Secrets, made
from compliance.runners.program.state import KeptAnswer, State
from compliance.runners.program.timing import Backoff, jittered, moment, now

log = logging.getLogger(__name__)

MOST = 64  # leases in one poll and in one renewal, by the contract
RENEWALS = 3  # in the time of one lease
CLOCK_OFF_SECONDS = 60.0  # from here on it is worth a word
ONCE_SECONDS = 30.0  # how long --once tries to reach the server, and to deliver
_HELD_POLL_SECONDS = 0.5  # the most that a runner waits after a poll that the server had held
_MOST_STEPS = 1_000_000


@dataclass(frozen=True, slots=True)
class Setup:
    """What every run needs."""

    client: Client
    allowed: tuple[str, ...]
    secrets: Secrets
    capacity: Capacity
    secret_filter: SecretFilter
    engines: Mapping[str, str]  # with their versions
    host: str
    once: bool


class ServerJobs(JobSource[Lease]):
    """Jobs from an Assay server; their answers go through the delivery."""

    executor = "runner"
    fatal = (Problem,)

    def __init__(self, setup: Setup, state: State) -> None:
        self.delivery: Delivery  # set by whoever starts its tasks
        self._setup = setup
        self._client = setup.client
        self._state = state
        self._lease_seconds = 45.0
        self._named = False  # the server has said which runner this is, and how long a lease is
        self._clock_checked = False
        self._last_error = ""
        self._polling = Backoff()
        self._renewing = Backoff(first=0.5, most=3.0)

    @property
    def backlog(self) -> int:  # type: ignore[override]
        return self.delivery.untried

    # Asking for work

    async def lease(self, at_most: int) -> list[Lease]:
        """Raises Problem for what no waiting mends."""
        since = now()
        while True:
            # Whether the server is there (again) is found out without waiting for work.
            asked, hurried = now(), not self._named or self._polling.failures > 0
            try:
                work = await self._client.poll(self._question(at_most), wait=not (self._setup.once or hurried))
            except Unavailable as away:
                self._note(f"no work could be asked for: {away}")
                if self._setup.once and now() - since > ONCE_SECONDS:
                    remedy = "Check the network and --url, or run `assay-runner check`."
                    raise Problem(Exit.SERVER, f"No contact with the server: {away}.", remedy) from None
                await asyncio.sleep(self._polling.failed(away.retry_after))
                continue
            self._answered(work)
            leases, unreadable = work.read()
            for key, why in unreadable:
                reason = f"the runner (version {__version__}) cannot read the lease: {why}"
                log.error("job %s: %s", key.job_id, reason)
                self.delivery.send(KeptAnswer("fail", key.job_id, key.token, "", {"reason": reason[:300]}, moment()))
            if not leases and (unreadable or (hurried and not self._setup.once)):
                continue
            self._until = now() + work.lease_seconds
            held = now() - asked >= work.poll_after_seconds
            self.pause = jittered(_HELD_POLL_SECONDS / 2, 1) if held else jittered(work.poll_after_seconds, 0.25)
            return leases

    def _answered(self, work: Work) -> None:
        if not self._named:
            log.info("this is the runner “%s” of %s", work.runner, self._client.url)
        elif self._polling.failures:
            log.info("the server answers again")
        self._polling.worked()
        self._last_error = ""
        self._lease_seconds, self._named = work.lease_seconds, True
        if work.server_time is not None and not self._clock_checked:
            off = (datetime.now(UTC) - work.server_time).total_seconds()
            if abs(off) > CLOCK_OFF_SECONDS:
                self._clock_checked = True
                log.warning(
                    "this machine's clock and the server's are %d s apart; nothing here depends on it, but TLS may",
                    abs(off),
                )

    def _question(self, free: int) -> dict[str, Any]:
        return {
            "at_most": min(free, MOST),
            "version": __version__,
            "engines": self._setup.engines,
            "host": self._setup.host,
            "clock": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "last_error": self._last_error,
        }

    def _note(self, words: str) -> None:
        hidden = self._setup.secret_filter.hide(words)
        if hidden != self._last_error:  # a server that is away for hours is said once
            log.warning("%s", hidden)
        self._last_error = hidden[:300]

    # Running

    def target(self, lease: Lease) -> Target:
        return Target(
            url=lease.agent_url,
            suite=lease.suite,
            protocol=lease.protocol,
            options=engine_options(lease.options),
            all_evidence=lease.all_evidence,
            suite_version=lease.suite_version,
            run_key=lease.job_id,
            deadline=lease.deadline_seconds,
            limits=Limits(step_seconds=lease.step_seconds),
            allow=allowlist.for_engines(self._setup.allowed),
        )

    async def begin(self, execution: Execution[Lease]) -> Report | None:
        lease = execution.lease
        execution.held_until = self._until
        log.info("%s: testing with %s", lease.agent_url, lease.suite)
        try:
            await asyncio.to_thread(self._state.hold, lease)
        except OSError as error:
            # The test is worth more than the note: without it the lease runs out after a kill, and is given anew.
            log.error("the state folder is not writable: %s", error.strerror)
        refused = await allowlist.refusal(self._setup.allowed, lease.agent_url)
        if refused:
            log.warning("%s is not tested: %s", lease.agent_url, refused)
            remedy = "Whoever runs the runner adds it with --allow or in the --allow-file."
            notice = Notice("refused", f"{refused}. {remedy}"[:1000])
            return Report.broken(
                lease.engine, lease.suite, lease.protocol, refused[:300], refused=True, notices=(notice,)
            )
        health = await asyncio.to_thread(engine_health, lease.engine)
        if not health.available:
            raise CannotRun(f"this runner cannot run the engine {lease.engine}: {health.reason}")
        return None

    async def access(self, execution: Execution[Lease]) -> Access:
        lease, secrets = execution.lease, self._setup.secrets
        offered = lease.credential
        own = secrets.by_name(offered.name) if offered is not None else None
        own = own or secrets.for_agent(lease.agent_url)
        if own is not None:
            return Access(own, source="runner")
        if offered is None:
            return Access()
        try:
            return Access(await self._released(lease, offered), source="assay")
        except Refused as refused:
            named = f" or for “{offered.name}”" if offered.name else ""
            reason = f"This runner's secrets file has none for the agent{named}, and Assay {refused}".rstrip(".")
        if offered.required:
            raise CannotRun(f"the credential that the test wants is not there. {reason}.")
        return Access(notice=Notice("without_credential", f"Tested without a credential. {reason}."[:1000]))

    async def _released(self, lease: Lease, offered: OfferedCredential) -> Credential:
        """Asks for as long as the lease is held: losing it cancels this. Raises Refused, which ends a sentence."""
        if not offered.may_be_released:
            raise Refused(200, "not-released", "may not release it")
        backoff = Backoff(most=10.0)
        while True:
            try:
                released = await self._client.credential(lease.job_id, lease.token)
                break
            except Unavailable as away:
                log.warning("the credential for %s: %s", lease.agent_url, away)
                await asyncio.sleep(backoff.failed(away.retry_after))
            except Refused as refused:
                raise Refused(refused.status, refused.kind, f"does not release it: {refused}") from None
        self._setup.secret_filter.add((released.value, *released.secrets))
        try:
            plain = made(released.header, released.value, tuple(released.secrets), "released")
        except Problem as problem:
            raise Refused(200, "unusable", f"does not release it: {problem.what}") from None
        return replace(
            plain,
            organization_id=released.organization_id,
            credential_id=released.credential_id,
            name=released.name,
        )

    # Answers

    async def complete(self, execution: Execution[Lease], report: Report) -> None:
        lease = execution.lease
        try:
            checked = accepted(report, engine=lease.engine, suite=lease.suite)
        except BadReport as bad:
            await self.fail(execution, f"the engine {lease.engine} returned what is no report: {bad}")
            return
        body = {"report": checked.to_json(), "credential": {"source": execution.access.source}}
        try:
            as_bytes(body)  # what cannot be written is found out here, where it ends this job and nothing else
        except (TypeError, ValueError, RecursionError) as error:
            await self.fail(execution, f"{type(error).__name__} in the engine {lease.engine}")
            return
        answer = KeptAnswer("complete", lease.job_id, lease.token, lease.agent_url, body, moment())
        self.delivery.send(answer, keep=True)

    async def fail(self, execution: Execution[Lease], reason: str) -> None:
        lease, hidden = execution.lease, self._setup.secret_filter.hide(reason)
        log.error("%s: %s", lease.agent_url, hidden)
        body = {"reason": hidden[:300]}
        self.delivery.send(KeptAnswer("fail", lease.job_id, lease.token, lease.agent_url, body, moment()), keep=True)

    # Keeping leases

    async def renew(self, executions: Sequence[Execution[Lease]]) -> Mapping[str, str]:
        if not self._named:
            return {}
        self.renewal_pause = self._lease_seconds / RENEWALS
        lost = _expired(executions)
        held = [execution for execution in executions if execution.lease.token not in lost]
        answers = self.delivery.still_renewable()[: MOST - len(held)]
        if not held and not answers:
            return lost
        asked = now()
        questions = [_renewal(e.lease.job_id, e.lease.token, e.progress) for e in held]
        questions += [_renewal(answer.job_id, answer.token, None) for answer in answers]
        # No longer than until the first lease runs out.
        left = [execution.held_until - now() for execution in held]
        patience = max(min([self._lease_seconds / RENEWALS, *left]), 0.5)
        try:
            renewed = await self._client.renew(questions, seconds=patience)
        except (Unavailable, Refused) as away:
            self._note(f"the leases could not be renewed: {away}")
            self.renewal_pause = min(
                self._renewing.failed(getattr(away, "retry_after", None)), self._lease_seconds / RENEWALS
            )
            return lost | _expired(held)
        self._renewing.worked()
        self._lease_seconds = renewed.lease_seconds
        reasons = renewed.reasons
        for execution in held:
            if execution.lease.job_id in reasons:
                why = reasons[execution.lease.job_id] or "the server gave no reason"
                lost[execution.lease.token] = f"the lease was lost ({why})"
            else:
                execution.held_until = asked + renewed.lease_seconds
        return lost

    def lost(self, execution: Execution[Lease]) -> None:
        with contextlib.suppress(OSError):
            self._state.let_go(execution.lease.token)


def _expired(executions: Sequence[Execution[Lease]]) -> dict[str, str]:
    why = "the lease could not be renewed in time, so that another may run it now"
    return {e.lease.token: why for e in executions if e.held_until and now() > e.held_until}


def _renewal(job_id: str, token: str, progress: Progress | None) -> dict[str, Any]:
    said = progress and {
        "step": progress.step,
        "done": min(max(progress.done, 0), _MOST_STEPS),
        "total": min(max(progress.total, 0), _MOST_STEPS),
    }
    return {"job_id": job_id, "token": token, "progress": said}
