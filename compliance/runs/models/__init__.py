"""The record, the evidence behind it, and what is derived from it."""

from compliance.runs.models.evidence import StepEvidence
from compliance.runs.models.run import (
    BY_ORGANIZATION,
    BY_PLATFORM,
    NEWEST_FIRST,
    ComplianceRun,
    ComplianceRunQuerySet,
    OverallStatus,
    TriggeredBy,
)
from compliance.runs.models.status import (
    STRIP_LENGTH,
    AgentContextWithLatestTest,
    AgentRow,
    AgentRunTotal,
    AgentStatus,
    LastTestQuerySet,
)
