"""The models of every package in one place, where Django looks for them."""

from compliance.alerts.models import Notice
from compliance.jobs.models import Job, JobState, RejectedReport
from compliance.monitors.models import HeartbeatDecision, Monitor, MonitorDecision, MonitorState, TickCounter, TickPhase
from compliance.registry.models import Agent, AgentContext, LifecycleStage, Protocol, Relation, Runner, RunnerState
from compliance.runs.models import (
    AgentContextWithLatestTest,
    AgentRunTotal,
    AgentStatus,
    ComplianceRun,
    StepEvidence,
    TriggeredBy,
)
from compliance.suites.models import EngineHealth, Suite, SuiteVersion
from compliance.tenancy.models import (
    ApiKey,
    DeletedOrganization,
    Invitation,
    Membership,
    Organization,
    Role,
    SystemScopeUse,
    User,
)
from compliance.vault.models import Credential, CredentialGrant, CredentialSecret, CredentialUse
from compliance.webhooks.models import DeliveryOutcome, WebhookDelivery
