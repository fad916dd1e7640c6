"""What the server says, read with care: values of the right type and size, or a Mismatch that names the first bad one.

What is not known here is left alone, so that a newer server may say more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from compliance.runners.program.addresses import host_and_port

_MOST_STEPS = 1_000_000
_LONGEST_SECONDS = 24 * 3600.0  # of one test


class Mismatch(Exception):
    """The server's answer is not what this program's version of the contract says."""


@dataclass(frozen=True, slots=True)
class WantedCredential:
    id: str
    name: str
    required: bool
    may_be_released: bool


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to work on one request, and what the work needs."""

    job_id: str  # both are UUIDs in their usual spelling: they become names of files
    token: str
    agent_url: str
    protocol: str
    engine: str
    suite: str
    suite_version: str
    options: Mapping[str, Any]
    all_evidence: bool
    deadline_seconds: float
    step_seconds: float
    credential: WantedCredential | None = None

    def kept(self) -> dict[str, Any]:
        """What a file keeps of it: enough to hand it back."""
        return {"job_id": self.job_id, "token": self.token, "agent_url": self.agent_url}


@dataclass(frozen=True, slots=True)
class Work:
    """The answer to a poll."""

    leases: tuple[Lease, ...]
    unreadable: tuple[tuple[str, str, str], ...]  # request id, token and what is wrong, of leases that cannot be read
    lease_seconds: float
    poll_after_seconds: float
    server_time: datetime | None
    runner: str


@dataclass(frozen=True, slots=True)
class Renewed:
    lost: Mapping[str, str]  # request id to reason
    lease_seconds: float


@dataclass(frozen=True, slots=True)
class Progress:
    step: str
    done: int
    total: int

    def to_json(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "done": min(max(self.done, 0), _MOST_STEPS),
            "total": min(max(self.total, 0), _MOST_STEPS),
        }


def _of(data: Any, name: str, kind: type | tuple[type, ...], *default: Any) -> Any:
    if not isinstance(data, dict):
        raise Mismatch("the answer is no JSON object")
    value = data.get(name, *default)
    # True is an int for Python, and none here.
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise Mismatch(f"“{name}” is missing or of the wrong type")
    return value


def _number(data: Any, name: str, *default: float, least: float = 0.0, most: float = math.inf) -> float:
    value = float(_of(data, name, (int, float), *default))
    if not math.isfinite(value) or value < least:
        raise Mismatch(f"“{name}” is no usable number")
    return min(value, most)


def _uuid(data: Any, name: str) -> str:
    try:
        return str(UUID(_of(data, name, str)))
    except ValueError:
        raise Mismatch(f"“{name}” is no UUID") from None


def read_work(data: Any) -> Work:
    leases, unreadable = [], []
    for part in _of(data, "leases", list):
        # Without these two nothing can be said about a lease, not even that it cannot be read.
        job_id, token = _uuid(part, "job_id"), _uuid(part, "token")
        try:
            leases.append(_lease(part, job_id, token))
        except Mismatch as mismatch:
            unreadable.append((job_id, token, str(mismatch)))
    try:
        server_time = datetime.fromisoformat(_of(data, "server_time", str, ""))
    except ValueError:
        server_time = None
    runner = data.get("runner")
    name = runner.get("name") if isinstance(runner, dict) else None
    return Work(
        leases=tuple(leases),
        unreadable=tuple(unreadable),
        lease_seconds=_number(data, "lease_seconds", least=1.0),
        poll_after_seconds=_number(data, "poll_after_seconds", 5.0, most=3600.0),
        server_time=server_time if server_time and server_time.tzinfo else None,
        runner=name if isinstance(name, str) else "",
    )


def _lease(data: Any, job_id: str, token: str) -> Lease:
    url = _of(data, "agent_url", str)
    try:
        host_and_port(url)
    except ValueError as error:
        raise Mismatch(f"“agent_url” is {error}") from None
    wanted = data.get("credential")
    return Lease(
        job_id=job_id,
        token=token,
        agent_url=url,
        protocol=_of(data, "protocol", str, ""),
        engine=_of(data, "engine", str),
        suite=_of(data, "suite", str),
        suite_version=_of(data, "suite_version", str, ""),
        options=_of(data, "options", dict, {}),
        all_evidence=_of(data, "all_evidence", bool, False),
        deadline_seconds=_number(data, "deadline_seconds", least=0.001, most=_LONGEST_SECONDS),
        step_seconds=_number(data, "step_seconds", least=0.001, most=_LONGEST_SECONDS),
        credential=None if wanted is None else _wanted(wanted),
    )


def _wanted(data: Any) -> WantedCredential:
    identifier = data.get("id") if isinstance(data, dict) else None
    return WantedCredential(
        id=identifier if isinstance(identifier, str) else "",
        name=_of(data, "name", str, ""),
        required=_of(data, "required", bool, False),
        may_be_released=_of(data, "may_be_released", bool, False),
    )


def read_renewed(data: Any) -> Renewed:
    lost = {_uuid(part, "job_id"): _of(part, "reason", str, "") for part in _of(data, "lost", list)}
    return Renewed(lost, _number(data, "lease_seconds", least=1.0))


@dataclass(frozen=True, slots=True)
class Released:
    """A credential that Assay released for one lease."""

    header: str
    value: str
    secrets: tuple[str, ...]
    credential_id: str
    organization_id: str
    name: str

    def __repr__(self) -> str:
        return f"Released({self.credential_id})"


def read_released(data: Any) -> Released:
    secrets = _of(data, "secrets", list, [])
    return Released(
        header=_of(data, "header", str),
        value=_of(data, "value", str),
        secrets=tuple(str(secret) for secret in secrets),
        credential_id=str(data.get("credential_id") or ""),
        organization_id=str(data.get("organization_id") or ""),
        name=_of(data, "name", str, ""),
    )
