"""record_run, against bare inserts of the same rows in the same number of transactions."""

from __future__ import annotations

STEPS = 30
GOAL = 0.5
DATABASE = "record"
AGENT_URL = "https://recorded.example/mcp"
ORGANIZATION = "org_recorded"
_EVIDENCE_COLUMNS = (
    "run_id, step_index, recorded_at, agent_url, organization_id, credential_organization_id, request, response,"
    " pointer"
)
