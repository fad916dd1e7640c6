"""The report of a run of the official runner, however the run ended.

What the agent did and what broke here are told apart in this module, never by an exit code: the official
command ends with 0 when steps failed, and with 3 when the agent was reached and found wanting.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from compliance.engines.catalog import CONNECTIVITY, StepSpec
from compliance.engines.contract import NOT_REACHED, Target
from compliance.engines.http.proxy import EgressProxy
from compliance.engines.http.redaction import Redactor
from compliance.engines.process.runner import Finished
from compliance.engines.reports.model import Notice, Report, Scenario, Step, Track, Verdict
from compliance.engines.suites.adcp.catalog import spec_link
from compliance.engines.suites.adcp.evidence import evidence_of
from compliance.engines.suites.adcp.outcome import RunnerOutput
from compliance.engines.suites.adcp.results import Results, connectivity_track

_REACH = {step.key: step for step in CONNECTIVITY.scenarios[0].steps}
_UNREACHABLE = "Agent unreachable — "
_STOPPED = {
    "memory": "The official runner needed more memory than a run may take",
    "output": "The official runner printed more than a run may",
    "processes": "The official runner started more processes than a run may",
}


def report_of(
    target: Target,
    output: RunnerOutput,
    redactor: Redactor,
    *,
    engine: tuple[str, str],
    runtime: dict[str, str],
    full: bool,
    finished: Finished | None,
    proxy: EgressProxy | None,
    harness_error: str,
    refused: bool,
    seconds: float,
) -> Report:
    """The report from what the runner told and how its process ended."""
    outcome = _Outcome(target, output, redactor, finished, proxy, harness_error, refused)
    end = output.end or {}
    results = Results(output, redactor, locked=outcome.locked, all_evidence=target.all_evidence)
    tracks = (*outcome.tracks, *results.tracks(outcome.unreached))
    server = _members(end.get("server"))
    report = Report(
        engine=engine[0],
        engine_version=engine[1],
        suite=target.suite,
        protocol=end.get("protocol", target.protocol),
        protocol_version=redactor.start(str(server.get("protocolVersion") or ""), 60),
        tracks=tracks,
        duration_ms=int(seconds * 1000),
        truncated=outcome.truncated,
        harness_error=outcome.harness_error,
        refused=outcome.refused,
        locked=outcome.locked,
        notices=(*outcome.notices, *results.notices),
        observations=_observations(end, redactor),
        suite_version=target.suite_version,
        spec_version=(end.get("summary") or {}).get("adcp_version", ""),
        runtime=runtime,
        full=full,
    )
    if target.credential is None or not outcome.credential_refused:
        return report
    return report.without_access(redactor.start(target.credential.name, 100), outcome.credential_refused)


class _Outcome:
    """How a run ended, and whose doing that was."""

    def __init__(
        self,
        target: Target,
        output: RunnerOutput,
        redactor: Redactor,
        finished: Finished | None,
        proxy: EgressProxy | None,
        harness_error: str,
        refused: bool,
    ) -> None:
        self.target = target
        self.output = output
        self.redactor = redactor
        self.proxy = proxy
        self.harness_error = harness_error
        self.refused = refused
        self.truncated = False
        self.locked = False
        self.credential_refused = 0  # the status with which the agent refused the run's own credential
        self.tracks: list[Track] = []
        self.notices: list[Notice] = []
        self.unreached = ""  # why what was planned and did not run was not tested
        if not harness_error:
            self._judge(finished)
        if self.refused:
            self.notices.append(
                Notice("refused", "Private and reserved addresses are not tested unless Assay's operator allows them")
            )
        if self.harness_error:
            self.unreached = "Not reached: the test itself stopped"
        elif self.truncated:
            self.unreached = NOT_REACHED

    def clean(self, text: Any) -> str:
        return self.redactor.start(" ".join(str(text).split()), 1000)

    def _judge(self, finished: Finished | None) -> None:
        self._network()
        if self.refused:
            return
        if self.output.garbled:
            self.harness_error = "The official runner printed something that is not its result"
        elif self.output.end is not None:
            self._ended(self.output.end)
        elif self.output.error is not None:
            self._broke(self.output.error)
        elif finished is not None:
            self._stopped(finished)

    def _network(self) -> None:
        if self.proxy is None:
            return
        parts = urlsplit(self.target.url)
        where = (parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
        if (reason := self.proxy.refusals.get(where)) is not None:
            self.refused, self.harness_error = True, f"Assay does not test this address ({reason})"
        elif self.proxy.refused:
            # One for all of them: an agent may lead to as many as it likes, and a report holds only so many notices.
            words = self.clean("; ".join(self.proxy.refused))
            self.notices.append(Notice("led_astray", f"The agent led to addresses that a test may not use: {words}"))
        if self.proxy.exhausted:
            self.truncated = True
            self.notices.append(
                Notice("network", f"The run used more of the network than it may: {self.proxy.exhausted}")
            )

    def _ended(self, end: dict[str, Any]) -> None:
        status = end["summary"]["overall_status"]
        wants_credential = status == "auth_required" or any(o["category"] == "auth" for o in end["observations"])
        if wants_credential and self.target.credential is None:
            self.locked = True
        elif wants_credential:
            # The runner asks without a credential, too, when it wonders: only what was seen to be refused was refused.
            seen = end.get("refused")
            self.credential_refused = seen["status"] if seen else 0
            spec = Step(
                "accepted",
                "The stored credential is accepted",
                Verdict.FAILED,
                expected="An answer other than 401 or 403",
                actual=f"The credential was refused with status {self.credential_refused}"
                if self.credential_refused
                else "The agent answered that it wants another one",
                spec_url=spec_link("/protocol/authentication"),
                evidence=evidence_of({"wire": seen, "checks": []}, self.redactor) if seen else None,
            )
            self.tracks.append(Track("security", "Security", (Scenario("security/credential", "Credential", (spec,)),)))
        elif status == "unreachable":
            self._unreachable(end["headline"].removeprefix(_UNREACHABLE))

    def _unreachable(self, words: str) -> None:
        connections = self.proxy.connections if self.proxy is not None else []
        reached = any(connection.outcome != "unreachable" for connection in connections)
        spec: StepSpec = _REACH["speaks" if reached else "reachable"]
        actual = self.clean(words) if reached else f"No connection could be made. {self.clean(words)}"
        self.tracks.append(connectivity_track(spec.key, spec.title, spec.expected, actual, spec.spec_url))

    def _broke(self, error: dict[str, str]) -> None:
        message = self.clean(error["message"])
        if error["name"] in ("AbortError", "TimeoutError") or "timed out after" in message[:60]:
            self.truncated = True
        elif error["code"] == "specialism_parent_protocol_missing":
            step = Step(
                "declared",
                "Each declared specialism belongs to a declared protocol",
                Verdict.FAILED,
                expected="The protocol of every specialism is among supported_protocols",
                actual=message,
                spec_url=spec_link("/protocol/get_adcp_capabilities"),
            )
            self.tracks.append(
                Track("core", "Core Protocol", (Scenario("capabilities/declared", "Capabilities", (step,)),))
            )
        else:
            self.harness_error = f"The official runner stopped: {message}"[:300]

    def _stopped(self, finished: Finished) -> None:
        if finished.stopped == "deadline":
            self.truncated = True
        elif finished.stopped:
            self.harness_error = _STOPPED.get(finished.stopped, "The official runner was stopped")
        elif "heap out of memory" in finished.stderr:
            self.harness_error = "The official runner ran out of memory"
        else:
            code = finished.returncode or 0
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            self.harness_error = f"The official runner ended without a result ({how})"


def _observations(end: dict[str, Any], redactor: Redactor) -> dict[str, Any]:
    """What the agent said of itself, so that a change of it can be seen, and what the official runner counted."""
    if not end:
        return {}
    profile, summary = end["profile"], end["summary"]
    capabilities = _members(profile.get("raw_capabilities"))
    info = _members(_members(end.get("server")).get("serverInfo"))

    def said(value: Any, length: int) -> str:
        return redactor.start(str(value or ""), length)

    def listed(value: Any, length: int) -> str:
        return redactor.start(", ".join(map(str, value)), length) if isinstance(value, list) else ""

    seen = {
        "server_name": said(info.get("name"), 100),
        "server_version": said(info.get("version"), 50),
        "tools": len(profile["tools"]),
        "tool_names": listed(sorted(map(str, profile["tools"])), 2000),
        "adcp_versions": listed(_members(capabilities.get("adcp")).get("major_versions"), 50),
        "adcp_protocols": listed(profile.get("supported_protocols"), 300),
        "adcp_specialisms": listed(profile.get("specialisms"), 500),
        "adcp_library": said(profile.get("library_version"), 100),
        "test_controller": end["controller"],
        "official_status": summary["overall_status"],
        "official_counts": ", ".join(f"{summary[key]} {key}" for key in ("passed", "failed", "skipped")),
        "official_tracks": ", ".join(f"{track['track']} {track['status']}" for track in end["tracks"]),
    }
    return {key: redactor.value(value) for key, value in seen.items() if value not in ("", None)}


def _members(value: Any) -> dict[str, Any]:
    """What an agent sent as an object, whatever it sent."""
    return value if isinstance(value, dict) else {}
