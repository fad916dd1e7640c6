"""The public statuses, compared with the record that they are derived from."""

from __future__ import annotations

import json
from typing import Any

from compliance.database import call
from compliance.tenancy.scope import Actor, system_scope


def rebuild_statuses(*, mend: bool, by: Actor) -> list[tuple[str, dict[str, Any] | None, dict[str, Any] | None]]:
    """Compare every agent's stored status with what its runs say (R9); `mend` stores the latter.

    Returns (agent_url, stored, derived) of those that differ.
    """
    with system_scope(by=by, reason="rebuild the agents' statuses"):
        differences = call("rebuild_agent_status", mend)
    return [(url, json.loads(stored or "null"), json.loads(derived or "null")) for url, stored, derived in differences]
