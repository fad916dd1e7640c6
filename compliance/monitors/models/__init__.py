"""Monitors, the decisions about their runs, and how the tick that decides goes."""

from compliance.monitors.models.decision import FOR_CAPACITY, SKIPPED, HeartbeatDecision, MonitorDecision, Outcome
from compliance.monitors.models.monitor import (
    CRON_LENGTH,
    MAX_COOLDOWN_SECONDS,
    MAX_INTERVAL_MINUTES,
    SCHEDULER,
    Monitor,
    MonitorQuerySet,
    MonitorState,
)
from compliance.monitors.models.tick import PHASES, TickCounter, TickPhase
