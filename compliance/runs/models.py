"""The room's tables: the record, the requests, and what is derived from the record."""

from compliance.runs.records import (
    BY_ORGANIZATION,
    BY_PLATFORM,
    AgentRunTotal,
    ComplianceRun,
    ExecutorKind,
    OverallStatus,
    StepEvidence,
    TriggeredBy,
)
from compliance.runs.requests import ComplianceRequest, RejectedReport, RequestState
from compliance.runs.status import AgentContextWithLatestTest, AgentStatus

__all__ = [
    "BY_ORGANIZATION",
    "BY_PLATFORM",
    "AgentContextWithLatestTest",
    "AgentRunTotal",
    "AgentStatus",
    "ComplianceRequest",
    "ComplianceRun",
    "ExecutorKind",
    "OverallStatus",
    "RejectedReport",
    "RequestState",
    "StepEvidence",
    "TriggeredBy",
]
