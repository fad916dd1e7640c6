"""One request of a run and what became of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

Headers = list[tuple[bytes, bytes]]


class FaultKind(StrEnum):
    REFUSED = "refused"  # our egress rule, before anything was sent
    OURS = "ours"  # the machine that tests could not: says nothing about the agent
    CONNECT = "connect"
    TLS = "tls"
    TIMEOUT = "timeout"
    DEADLINE = "deadline"  # the whole run's time was up: says nothing about the agent
    CLOSED = "closed"
    SIZE = "size"
    ENCODING = "encoding"
    REDIRECT = "redirect"
    MALFORMED = "malformed"


class Fault(Exception):
    """Why there is no complete answer, in words that hold nothing of what the agent sent but host names."""

    def __init__(self, kind: FaultKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


@dataclass(slots=True)
class Exchange:
    """One request and what became of it."""

    method: str
    url: str
    request_headers: Headers
    request_body: bytes
    status: int = 0  # 0: no answer
    headers: Headers = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)
    fault: Fault | None = None
    seconds: float = 0.0
    size: int = 0  # of the whole body in bytes, where `body` is only its beginning; else 0
    hops: tuple[str, ...] = ()  # where redirects led
    late_before: float = 0.0  # the HTTP client's `late` when the exchange began

    def header(self, name: str) -> str:
        lowered = name.lower().encode()
        return next((v.decode("latin-1") for k, v in self.headers if k.lower() == lowered), "")

    @property
    def media_type(self) -> str:
        return self.header("content-type").partition(";")[0].strip().lower()

    @property
    def is_locked(self) -> bool:
        """Whether the answer asks for a credential, or for payment, before anything else (E4)."""
        return self.fault is None and self.status in (401, 402, 403)
