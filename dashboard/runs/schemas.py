"""A run as the API shows it: its row for lists, its whole report for itself."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from ninja import Schema
from pydantic import Field

from compliance.engines.reports.model import Verdict
from compliance.models import ComplianceRun, LifecycleStage, Organization, TriggeredBy
from compliance.registry.models import ExecutorKind
from compliance.runs.models import OverallStatus
from dashboard.agents.api import page_url
from dashboard.api.fields import ActorOut, SuiteRef
from dashboard.api.paging import Page
from dashboard.runs.report_page import why_inconclusive


class Counts(Schema):
    """How many steps each verdict has."""

    passed: int
    failed: int
    skipped: int
    silent: int
    not_applicable: int
    not_tested: int


class CredentialRef(Schema):
    id: UUID
    name: str = Field(description="As it was called then.")


class RunSummary(Schema):
    """One finished execution."""

    id: UUID
    agent_url: str = Field(examples=["https://agent.example/mcp"])
    triggered_by: TriggeredBy
    actor: ActorOut
    executor_kind: ExecutorKind
    executor_name: str = Field(description="The private runner's name as it was then; empty for a hosted worker.")
    suite: SuiteRef
    engine: str
    engine_version: str
    protocol: str
    protocol_version: str
    spec_version: str
    dry_run: bool
    full_suite: bool = Field(description="False for a run of some scenarios only.")
    moves_status: bool = Field(description="Whether it counts for the agent's public status.")
    lifecycle_stage: LifecycleStage
    requested_at: datetime
    tested_at: datetime = Field(description="When the execution ended, by the executor's clock.")
    recorded_at: datetime
    duration_ms: int
    overall_status: OverallStatus
    headline: str = Field(examples=["All 25 checks passed."])
    counts: Counts
    truncated: bool
    harness_error: str = Field(description="What broke on our side; such a run says nothing about the agent.")
    credential: CredentialRef | None = Field(description="Which of the organization's credentials was used, if any.")
    job_id: UUID | None
    url: str = Field(description="Its page.")


class RunPage(Page):
    items: list[RunSummary]


class StepOut(Schema):
    index: int = Field(description="Its place in the report, from 0: evidence is asked for by it.")
    key: str
    title: str
    verdict: Verdict
    requirement: str = Field(description="What the specification asks: such as `MUST`; may be empty.")
    expected: str
    actual: str
    spec_url: str
    duration_ms: int
    has_evidence: bool = Field(description="Whether GET /runs/{id}/steps/{index} has its exchange.")


class ScenarioOut(Schema):
    key: str
    title: str
    steps: list[StepOut]


class TrackOut(Schema):
    key: str
    title: str
    scenarios: list[ScenarioOut]


class Notice(Schema):
    code: str
    message: str


class RunWithReport(RunSummary):
    """One finished execution with its whole report."""

    why_inconclusive: str = Field(description="In words; empty for a run that is conclusive.")
    tracks: list[TrackOut]
    observations: dict[str, Any] = Field(description="What was seen beside the checks.")
    notices: list[Notice]


class StepEvidenceOut(Schema):
    """The exchange behind one step, redacted."""

    run_id: UUID
    index: int
    key: str
    title: str
    verdict: Verdict
    expected: str
    actual: str
    request: Any = Field(description="What was sent.")
    response: Any = Field(description="What came back.")
    pointer: str = Field(description="The failing place, a JSON pointer into the two; may be empty.")
    expires_at: datetime = Field(description="When the evidence is dropped.")


def run_fields(run: ComplianceRun, organization: Organization) -> dict[str, Any]:
    """The values of RunSummary."""
    own = run.triggered_org_id == organization.id
    credential = run.credential_id if own else None
    return {
        "id": run.pk,
        "agent_url": run.agent_url,
        "triggered_by": TriggeredBy(run.triggered_by),
        "actor": ActorOut(kind=run.actor_kind, name=run.actor_name),
        "executor_kind": ExecutorKind(run.executor_kind),
        "executor_name": run.executor_name,
        "suite": SuiteRef(slug=run.suite_version.suite.slug, version=run.suite_version.version),
        "engine": run.engine,
        "engine_version": run.engine_version,
        "protocol": run.protocol,
        "protocol_version": run.protocol_version,
        "spec_version": run.spec_version,
        "dry_run": run.dry_run,
        "full_suite": run.full_suite,
        "moves_status": run.moves_status,
        "lifecycle_stage": LifecycleStage(run.lifecycle_stage),
        "requested_at": run.requested_at,
        "tested_at": run.tested_at,
        "recorded_at": run.recorded_at,
        "duration_ms": run.duration_ms,
        "overall_status": OverallStatus(run.overall_status),
        "headline": run.headline,
        "counts": Counts(**run.counts),
        "truncated": run.truncated,
        "harness_error": run.harness_error,
        "credential": CredentialRef(id=credential, name=run.credential_name) if credential else None,
        "job_id": run.job_id if own else None,
        "url": page_url("run", organization, run.pk),
    }


def run_with_report(run: ComplianceRun, organization: Organization, with_evidence: set[int]) -> RunWithReport:
    """The run with its report. with_evidence: the steps whose evidence the organization may read."""
    return RunWithReport(
        **run_fields(run, organization),
        why_inconclusive=why_inconclusive(run),
        tracks=_tracks(run, with_evidence),
        observations=run.observations,
        notices=[Notice(code=notice["code"], message=notice["message"]) for notice in run.notices],
    )


def _tracks(run: ComplianceRun, with_evidence: set[int]) -> list[TrackOut]:
    # As it ran: pages put failures first, programs sort for themselves.
    index, tracks = 0, []
    for track in run.tracks_json:
        scenarios = []
        for scenario in track["scenarios"]:
            steps = []
            for step in scenario["steps"]:
                steps.append(_step(step, index, index in with_evidence))
                index += 1
            scenarios.append(ScenarioOut(key=scenario["key"], title=scenario["title"], steps=steps))
        tracks.append(TrackOut(key=track["key"], title=track["title"], scenarios=scenarios))
    return tracks


def _step(step: dict[str, Any], index: int, has_evidence: bool) -> StepOut:
    return StepOut(
        index=index,
        key=step["key"],
        title=step["title"],
        verdict=Verdict(step["verdict"]),
        requirement=step.get("requirement", ""),
        expected=step.get("expected", ""),
        actual=step.get("actual", ""),
        spec_url=step.get("spec_url", ""),
        duration_ms=step.get("duration_ms", 0),
        has_evidence=has_evidence,
    )
