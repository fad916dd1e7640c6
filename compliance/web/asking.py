"""A request that can be put to the application more than once, and the answer that is kept meanwhile."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

Environ = dict[str, Any]
Application = Callable[..., Iterable[bytes]]

# In the environ of a request that is asked again: for how long it has waited. What it says of the present is as old.
WAITED = "assay.waited_seconds"

WAIT_FOR = "assay-wait-for"
BODY_MOST_BYTES = 64 * 1024
_WAIT = re.compile(r"""wait\s*=\s*"?(\d{1,9})"?\s*""", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the application said; `keys` are what it would like to be asked again for, if anything."""

    status: str
    headers: list[tuple[str, str]]
    body: bytes
    keys: tuple[str, ...]
    made_at: float


def preferred_wait(headers: Sequence[tuple[str, str]]) -> int:
    """Seconds that the client is willing to wait (RFC 7240); 0 when it does not say. Names are in upper case."""
    for name, value in headers:
        if name == "PREFER":
            for preference in value.split(","):
                found = _WAIT.fullmatch(preference.partition(";")[0].strip())
                if found:
                    return int(found[1])
    return 0


def short_body_length(headers: Sequence[tuple[str, str]]) -> int | None:
    """Bytes of a body that is short enough to be kept; None when it is not, or does not say so beforehand."""
    length = 0
    for name, value in headers:
        if name == "TRANSFER-ENCODING":
            return None
        if name == "CONTENT-LENGTH":
            length = int(value) if value.isdecimal() else BODY_MOST_BYTES + 1
    return length if length <= BODY_MOST_BYTES else None


def ask(application: Application, environ: Environ, body: bytes) -> Answer:
    """Put a request to the application; `environ` and `body` stay as they are, for the next time."""
    made_at = time.monotonic()
    said: list[Any] = []
    written: list[bytes] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], None]:
        said[:] = [status, headers]
        return written.append

    pieces = application({**environ, "wsgi.input": io.BytesIO(body)}, start_response)
    try:
        written.extend(pieces)
    finally:
        # Django's end of a request, which gives the connection back: here, in the thread that used it.
        close = getattr(pieces, "close", None)
        if close is not None:
            close()
    status, headers = said
    keys = [value for name, value in headers if name.lower() == WAIT_FOR]
    return Answer(
        status=status,
        headers=without_keys(headers),
        body=b"".join(written),
        keys=tuple(key.strip() for value in keys for key in value.split(",") if key.strip()),
        made_at=made_at,
    )


def without_keys(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    for name, _ in headers:  # of every answer there is: looked at twice only if there is something to find
        if len(name) == len(WAIT_FOR) and name.lower() == WAIT_FOR:
            return [header for header in headers if header[0].lower() != WAIT_FOR]
    return headers


def never_telling_keys(application: Application) -> Application:
    """The application as everybody else is served: what it would wait for is between it and this server."""

    def serve(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            return start_response(status, without_keys(headers), exc_info)

        return application(environ, start)

    return serve
