"""One request of a run and what became of it."""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

Headers = list[tuple[bytes, bytes]]
HIDDEN = "[redacted]"  # what stands in the place of a secret


class FaultKind(StrEnum):
    REFUSED = "refused"  # our egress rule, before anything was sent
    OURS = "ours"  # the machine that tests could not
    NAME = "name"  # the name does not resolve, at least not from here
    CONNECT = "connect"
    TLS = "tls"
    TIMEOUT = "timeout"
    DEADLINE = "deadline"  # the whole run's time was up
    CLOSED = "closed"
    SIZE = "size"  # more than we read
    LIMITED = "limited"  # asked too often, also after waiting
    WALL = "wall"  # what stands in front of the agent wants a person with a browser
    ENCODING = "encoding"
    REDIRECT = "redirect"
    MALFORMED = "malformed"


# These say nothing about the agent (E1).
_NOT_THE_AGENTS = {
    FaultKind.REFUSED, FaultKind.OURS, FaultKind.NAME, FaultKind.DEADLINE,
    FaultKind.SIZE, FaultKind.LIMITED, FaultKind.WALL,
}  # fmt: skip


# Reasons that lie with the machine that tests: no network, no resolver, nothing left to open a connection with.
_OUR_ERRORS = {
    errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM,
    errno.EADDRNOTAVAIL, errno.ENETDOWN, errno.ENETUNREACH, errno.EACCES, errno.EPERM,
}  # fmt: skip


class Fault(Exception):
    """Why there is no complete answer, in words that hold nothing of what the agent sent but host names."""

    def __init__(self, kind: FaultKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message

    @property
    def is_the_agents(self) -> bool:
        return self.kind not in _NOT_THE_AGENTS


def is_ours(error: BaseException | None) -> bool:
    """Whether it was our machine that could not: EAI_AGAIN is a resolver that does not answer."""
    while error is not None:
        if isinstance(error, socket.gaierror):
            return error.errno in (socket.EAI_AGAIN, socket.EAI_MEMORY, socket.EAI_SYSTEM)
        if isinstance(error, OSError) and error.errno in _OUR_ERRORS:
            return True
        error = error.__cause__ or error.__context__
    return False


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
    sent_headers: Headers = field(default_factory=list)  # all that went out first, without the credential's value (E10)
    fault: Fault | None = None
    seconds: float = 0.0
    size: int = 0  # of the whole body in bytes, where `body` is only its beginning; else 0
    hops: tuple[str, ...] = ()  # where redirects led
    late_before: float = 0.0  # the HTTP client's `late` when the exchange began
    read_as: tuple[int, Any] | None = field(default=None, repr=False)  # what jsonrpc read, from how many bytes

    def header(self, name: str) -> str:
        """The first line of this name; "" when there is none."""
        return next(iter(self.lines(name)), "")

    def lines(self, name: str) -> list[str]:
        """Every line of this name: some headers may come more than once."""
        lowered = name.lower().encode()
        return [v.decode("latin-1") for k, v in self.headers if k.lower() == lowered]

    @property
    def is_locked(self) -> bool:
        """Whether the answer asks for a credential, or for payment, before anything else (E4)."""
        return self.fault is None and self.status in (401, 402, 403)

    @property
    def media_type(self) -> str:
        return self.header("content-type").partition(";")[0].strip().lower()
