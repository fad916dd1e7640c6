"""Judgements that are the same for every protocol: the connection, and being asked for credentials."""

from __future__ import annotations

from compliance.engines.http.challenges import challenges
from compliance.engines.http.exchange import Exchange, FaultKind
from compliance.engines.reports.builder import PolicyRefused, ReportBuilder, StepResult

_REACH = "connectivity/reach"


def check_connection(run: ReportBuilder, exchange: Exchange, reachable: StepResult) -> bool:
    """Check the certificate and the first answer. False when there is nothing more to ask."""
    fault = exchange.fault
    if fault is not None and fault.kind is FaultKind.REFUSED and not exchange.hops:
        raise PolicyRefused(fault.message)
    with run.step(_REACH, "tls") as tls:
        tls.exchange = exchange
        if not exchange.url.lower().startswith("https:"):
            tls.not_applicable("The address is plain http")
        elif fault is not None and fault.kind is FaultKind.TLS:
            tls.failed(fault.message, at="/response/fault")
        elif fault is not None and run.http.backend.handshaking:
            tls.failed("TLS: the handshake was not completed")
        elif run.http.backend.certificate:
            days = run.http.certificate_days()
            tls.passed("Trusted and made out to this host" + (f", {days} days left" if days is not None else ""))
        else:
            tls.skipped("No connection was made")
    if fault is not None:
        words = fault.message
        if fault.kind is FaultKind.REFUSED:
            words = f"the agent redirects where a test may not go: {words}"
        reachable.failed(words, at="/response/fault")
    elif exchange.status >= 500:
        reachable.failed(f"HTTP {exchange.status}: a server error", at="/response/status")
    else:
        reachable.passed(f"Answered with status {exchange.status} after {exchange.seconds * 1000:.0f} ms")
        return True
    run.stop_reason = "Left out: the agent could not be reached"
    return False


def check_credential(run: ReportBuilder, scenario: str, exchange: Exchange) -> bool:
    """Check the answer to the run's own credential, or to having none. False when the agent wants another."""
    refused = exchange.is_locked
    if run.target.credential is not None:
        with run.step(scenario, "accepted") as step:
            step.exchange = exchange
            if refused:
                step.failed(f"The credential was refused with status {exchange.status}", at="/response/status")
                run.stop_reason = "Left out: the agent refused the credential"
                run.credential_refused = exchange.status
            else:
                step.passed(f"Answered with status {exchange.status}")
                run.credential_accepted = True
    elif refused:
        check_challenge(run, scenario, exchange)
        with run.step(scenario, "accepted") as step:
            step.skipped("No credential is stored for this agent")
        run.stop_reason = "Left out: the agent wants a credential, and none is stored for it"
        note_locked(run)
    return not refused


def note_locked(run: ReportBuilder) -> None:
    """Note that the agent wants a credential, which the run does not have."""
    if not run.locked:
        run.notice("needs_credential", "The agent asks for credentials: only what works without them was checked")
    run.locked = True


def locked_out(run: ReportBuilder, step: StepResult, exchange: Exchange) -> bool:
    """Leave out a step whose question wants a credential that the run does not have, wherever it is asked for (E4)."""
    if not exchange.is_locked:
        return False
    if run.target.credential is None:
        note_locked(run)
        step.skipped(f"Answered with status {exchange.status}: this needs a credential, and none is stored")
    else:
        run.credential_refused = run.credential_refused or exchange.status
        step.not_tested(f"The credential was refused with status {exchange.status}")
    return True


def check_challenge(run: ReportBuilder, scenario: str, exchange: Exchange) -> bool:
    """Check how a request without credentials was answered. True when the agent asks for some."""
    with run.step(scenario, "unauthorized") as step:
        step.exchange = exchange
        schemes = ", ".join(dict.fromkeys(run.said(each.scheme, 40) for each in challenges(exchange)[:5]))
        if exchange.fault is not None:
            step.failed(exchange.fault.message, at="/response/fault")
        elif not exchange.is_locked:
            step.not_applicable(f"The agent does not ask for credentials: status {exchange.status} without any")
        elif exchange.status != 401:
            step.silent(f"Answered with status {exchange.status}: it is locked, and does not say what opens it")
        elif schemes:
            step.passed(f"Answered with status 401 and the scheme {schemes}")
        elif run.target.credential is None:
            # Of a locked agent too little is seen for a verdict.
            step.silent("Answered with status 401, but without a WWW-Authenticate header")
        else:
            step.failed("Answered with status 401, but without a WWW-Authenticate header", at="/response/headers")
    return exchange.is_locked
