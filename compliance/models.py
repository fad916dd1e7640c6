"""Every room's models in one place, so that Django and a reader find them."""

from compliance.alerts.notices import Notice
from compliance.jobs.models import Job, JobState, RejectedReport
from compliance.monitors.liveness import TickCounter, TickPhase
from compliance.monitors.models import Monitor, MonitorDecision, MonitorState
from compliance.registry.models import Agent, AgentContext, LifecycleStage, Protocol, Relation
from compliance.runners.models import Runner, RunnerState
from compliance.runs.models import AgentRunTotal, ComplianceRun, StepEvidence, TriggeredBy
from compliance.runs.status import AgentContextWithLatestTest, AgentStatus
from compliance.suites.health import EngineHealth
from compliance.suites.models import Suite, SuiteVersion
from compliance.tenancy.api_keys import ApiKey
from compliance.tenancy.models import Invitation, Membership, Organization, Role, SystemScopeUse, User
from compliance.vault.models import Credential, CredentialGrant, CredentialSecret, CredentialUse
from compliance.webhooks.models import DeliveryOutcome, WebhookDelivery

__all__ = [
    "Agent",
    "AgentContext",
    "AgentContextWithLatestTest",
    "AgentRunTotal",
    "AgentStatus",
    "ApiKey",
    "ComplianceRun",
    "Credential",
    "CredentialGrant",
    "CredentialSecret",
    "CredentialUse",
    "DeliveryOutcome",
    "EngineHealth",
    "Invitation",
    "Job",
    "JobState",
    "LifecycleStage",
    "Membership",
    "Monitor",
    "MonitorDecision",
    "MonitorState",
    "Notice",
    "Organization",
    "Protocol",
    "RejectedReport",
    "Relation",
    "Role",
    "Runner",
    "RunnerState",
    "StepEvidence",
    "Suite",
    "SuiteVersion",
    "SystemScopeUse",
    "TickCounter",
    "TickPhase",
    "TriggeredBy",
    "User",
    "WebhookDelivery",
]
