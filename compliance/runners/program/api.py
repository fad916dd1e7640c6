"""What the server answers, read with care: values of the right type and size, or a Mismatch that names the bad one.

What is not known here is left alone, so that a newer server may say more.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, TypeVar
from uuid import UUID

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from compliance.runners.program.allowlist import host_and_port

_LONGEST_SECONDS = 24 * 3600.0  # of one test


class Mismatch(Exception):
    """The server's answer is not what this program's version of the contract says."""


def _usual(text: str) -> str:
    return str(UUID(text))


def _agent_url(text: str) -> str:
    host_and_port(text)
    return text


def _moment(value: Any) -> datetime | None:
    """None for what is no time with its zone: nothing depends on it."""
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return moment if moment.tzinfo else None


def _name(value: Any) -> str:
    name = value.get("name") if isinstance(value, dict) else None
    return name if isinstance(name, str) else ""


_Uuid = Annotated[str, AfterValidator(_usual)]  # in its usual spelling: it becomes the name of a file
_LeaseSeconds = Annotated[float, Field(ge=1.0, allow_inf_nan=False)]
_TestSeconds = Annotated[
    float, Field(ge=0.001, allow_inf_nan=False), AfterValidator(lambda seconds: min(seconds, _LONGEST_SECONDS))
]


class _Answer(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, hide_input_in_errors=True)


class OfferedCredential(_Answer):
    """The credential that a job is to use, by its name."""

    name: str = ""
    required: bool = False
    may_be_released: bool = False


class Lease(_Answer):
    """The right to work on one job, and what the work needs."""

    job_id: _Uuid
    token: _Uuid
    agent_url: Annotated[str, AfterValidator(_agent_url)]
    protocol: str = ""
    engine: str
    suite: str
    suite_version: str = ""
    options: dict[str, Any] = {}
    all_evidence: bool = False
    deadline_seconds: _TestSeconds
    step_seconds: _TestSeconds
    credential: OfferedCredential | None = None


class LeaseKey(_Answer):
    """Without these two nothing can be said about a lease, not even that it cannot be read."""

    model_config = ConfigDict(extra="allow")

    job_id: _Uuid
    token: _Uuid


class Work(_Answer):
    """The answer to a poll."""

    leases: list[LeaseKey]
    lease_seconds: _LeaseSeconds
    poll_after_seconds: Annotated[
        float, Field(ge=0.0, allow_inf_nan=False), AfterValidator(lambda seconds: min(seconds, 3600.0))
    ] = 5.0
    server_time: Annotated[datetime | None, BeforeValidator(_moment)] = None
    runner: Annotated[str, BeforeValidator(_name)] = ""

    def read(self) -> tuple[list[Lease], list[tuple[LeaseKey, str]]]:
        """The leases, and those that cannot be read with what is wrong."""
        leases, unreadable = [], []
        for key in self.leases:
            try:
                leases.append(read(Lease, key.model_dump()))
            except Mismatch as mismatch:
                unreadable.append((key, str(mismatch)))
        return leases, unreadable


class _Lost(_Answer):
    job_id: _Uuid
    reason: str = ""


class Renewed(_Answer):
    lost: list[_Lost]
    lease_seconds: _LeaseSeconds

    @property
    def reasons(self) -> Mapping[str, str]:
        return {lost.job_id: lost.reason for lost in self.lost}


class Released(_Answer):
    """A credential that Assay released for one lease."""

    header: str = Field(repr=False)
    value: str = Field(repr=False)
    secrets: list[str] = Field(default=[], repr=False)
    credential_id: str = ""
    organization_id: str = ""
    name: str = ""


M = TypeVar("M", bound=_Answer)


def read(kind: type[M], data: Any) -> M:
    """An answer of this kind. Raises Mismatch."""
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = "/".join(str(part)[:60] for part in first["loc"])
        words = "is missing" if first["type"] == "missing" else f"is wrong: {first['msg']}"
        raise Mismatch(f"“{place}” {words}" if place else "the answer is no JSON object") from None
