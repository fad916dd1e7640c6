"""What is tested, and by whose machines: agents, each organization's relation to them, and private runners."""

from compliance.registry.models.agents import (
    HEARTBEAT_STAGES,
    MAX_AT_ONCE,
    MAX_INTERVAL_HOURS,
    MIN_INTERVAL_HOURS,
    Agent,
    AgentContext,
    AgentContextQuerySet,
    AgentQuerySet,
    HeartbeatSlot,
    LifecycleStage,
    Protocol,
    Relation,
    has_agent,
)
from compliance.registry.models.runners import (
    HOSTED,
    POOL_LENGTH,
    POOL_PATTERN,
    ExecutorKind,
    Placement,
    Runner,
    RunnerQuerySet,
    RunnerState,
)
