"""Runs in the API: a summary in lists, and one run with its whole report."""

from __future__ import annotations

from datetime import datetime
from itertools import count
from typing import Any
from uuid import UUID

from ninja import Schema
from pydantic import Field

from compliance.engines.reports.model import Verdict
from compliance.models import ComplianceRun, LifecycleStage, TriggeredBy
from compliance.registry.models import ExecutorKind
from compliance.runs.models import OverallStatus
from dashboard.api.paging import Page
from dashboard.api.schemas import OfSuiteVersion, WithActor, page_url
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


class RunSummary(WithActor, OfSuiteVersion):
    """One finished execution."""

    id: UUID
    agent_url: str = Field(examples=["https://agent.example/mcp"])
    triggered_by: TriggeredBy
    executor_kind: ExecutorKind
    executor_name: str = Field(description="The private runner's name as it was then; empty for a hosted worker.")
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

    @staticmethod
    def resolve_actor(run: ComplianceRun) -> dict[str, str]:
        if run.triggered_by == TriggeredBy.MANUAL:
            return {"kind": "system", "name": "Platform"}  # who of the staff it was is not the organizations' to read
        return WithActor.resolve_actor(run)

    @staticmethod
    def resolve_credential(run: ComplianceRun, context: dict[str, Any]) -> dict[str, Any] | None:
        if run.credential_id is None or not _is_own(run, context):
            return None
        return {"id": run.credential_id, "name": run.credential_name}

    @staticmethod
    def resolve_job_id(run: ComplianceRun, context: dict[str, Any]) -> UUID | None:
        return run.job_id if _is_own(run, context) else None

    @staticmethod
    def resolve_url(run: ComplianceRun, context: dict[str, Any]) -> str:
        return page_url("run", context, run.pk)


def _is_own(run: ComplianceRun, context: dict[str, Any]) -> bool:
    organization_id: str = context["request"].organization.id
    return run.triggered_org_id == organization_id


class RunPage(Page):
    items: list[RunSummary]


class StepOut(Schema):
    index: int = Field(description="Its position in the report, from 0: evidence is read by it.")
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

    @staticmethod
    def resolve_why_inconclusive(run: ComplianceRun) -> str:
        return why_inconclusive(run)

    @staticmethod
    def resolve_tracks(run: ComplianceRun, context: dict[str, Any]) -> list[dict[str, Any]]:
        """In the order of the run: pages put failures first, programs sort for themselves."""
        index = count()
        return [
            {
                **track,
                "scenarios": [
                    {
                        **scenario,
                        "steps": [_step(step, next(index), context["with_evidence"]) for step in scenario["steps"]],
                    }
                    for scenario in track["scenarios"]
                ],
            }
            for track in run.tracks_json
        ]


# What the report leaves out when it is empty.
_EMPTY_STEP = {"requirement": "", "expected": "", "actual": "", "spec_url": "", "duration_ms": 0}


def _step(step: dict[str, Any], index: int, with_evidence: set[int]) -> dict[str, Any]:
    return {**_EMPTY_STEP, **step, "index": index, "has_evidence": index in with_evidence}


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
    pointer: str = Field(description="What fails, a JSON pointer into the two; may be empty.")
    expires_at: datetime = Field(description="When the evidence is dropped.")
