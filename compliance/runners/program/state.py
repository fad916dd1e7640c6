"""The state folder: what must outlive the process. One holder at a time.

held/ has a file for each lease that runs here: at the next start they are handed back.
outbox/ has a file for each answer that the server has not acknowledged yet.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Literal
from uuid import UUID

from pydantic import TypeAdapter

from compliance.runners.program.api import Lease
from compliance.runners.program.client import as_bytes
from compliance.runners.program.problems import Exit, Problem
from compliance.runners.program.timing import moment

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """An answer for the server: how a job ended here. Sent until it is acknowledged."""

    call: Literal["complete", "fail", "release"]
    job_id: str
    token: str
    agent_url: str
    body: dict[str, Any]
    ended: dict[str, Any]  # timing.moment() at the end of the test

    def as_bytes(self) -> bytes:
        # Not asdict, which copies the whole report.
        return as_bytes({field.name: getattr(self, field.name) for field in fields(self)})


_KEPT_ANSWER = TypeAdapter(KeptAnswer)


def release_of(lease: Lease, reason: str = "") -> KeptAnswer:
    """What hands a lease back."""
    body = {"reason": reason} if reason else {}
    return KeptAnswer("release", lease.job_id, lease.token, lease.agent_url, body, moment() if reason else {})


class InUse(Problem):
    """Another process holds the state folder."""


def default_folder(environment: dict[str, str]) -> Path:
    """Where systemd says, or where programs of a user keep their state."""
    systemd = environment.get("STATE_DIRECTORY", "").split(":")[0]
    if systemd:
        return Path(systemd)
    base = environment.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "assay-runner"


def check_folder(folder: Path, *, server: str) -> None:
    """Raises Problem where State would. Leaves everything as it is: what is not there is not made."""
    try:
        there = folder
        while not there.exists():
            there = there.parent
        for part in (there, folder / "held", folder / "outbox"):
            if part.exists():
                with TemporaryFile(dir=part):
                    pass  # that it can be written is only found out by writing
        if (folder / "lock").exists():
            os.close(_locked(folder))
        _known_server(folder, server)
    except OSError as error:
        raise _not_usable(folder, error) from None


def _not_usable(folder: Path, error: OSError) -> Problem:
    remedy = "Give a folder of its own with --state-dir, and check as which user the runner runs."
    return Problem(Exit.STATE, f"The state folder {folder} cannot be used: {error.strerror or error}.", remedy)


def _locked(folder: Path, flags: int = 0) -> int:
    """The folder's lock as an open file, which holds it until it is closed. Raises InUse and OSError."""
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CLOEXEC | flags, 0o600)
    try:
        # The kernel drops it when its holder dies, however it dies.
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(lock, 20, 0).decode("ascii", "replace") or "unknown"
        os.close(lock)
        remedy = "Stop that one, or give each its own --state-dir."
        raise InUse(Exit.STATE, f"Another runner uses {folder} (process {holder}).", remedy) from None
    return lock


def _known_server(folder: Path, server: str) -> str:
    """Which server the folder was last used for; "" for none. Raises Problem when it has answers for another one."""
    try:
        known = (folder / "server").read_text("utf-8").strip()
    except FileNotFoundError:
        return ""
    if known and known != server and (_answers(folder / "held") or _answers(folder / "outbox")):
        remedy = f"Start once with --url {known} --once to deliver them, or give another --state-dir."
        raise Problem(Exit.STATE, f"The state folder {folder} holds answers for {known}.", remedy)
    return known


def _answers(part: Path) -> list[Path]:
    return sorted(part.glob("*.json"))


class State:
    def __init__(self, folder: Path, *, server: str) -> None:
        """Raises Problem when the folder cannot be written, is in use, or holds answers for another server."""
        self.folder = folder
        self._held, self._outbox = folder / "held", folder / "outbox"
        try:
            for part in (folder, self._held, self._outbox):
                part.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = _locked(folder, os.O_CREAT)
            os.ftruncate(self._lock, 0)
            os.pwrite(self._lock, str(os.getpid()).encode(), 0)
            self._clear_unfinished()
            if _known_server(folder, server) != server:
                self._write(folder / "server", server.encode())
        except OSError as error:
            raise _not_usable(folder, error) from None

    def _clear_unfinished(self) -> None:
        for part in (self._held, self._outbox):
            for left in part.glob("*.new"):
                left.unlink()

    def close(self) -> None:
        os.close(self._lock)

    def held_files(self) -> list[Path]:
        return _answers(self._held)

    def outbox_files(self) -> list[Path]:
        return _answers(self._outbox)

    def hold(self, lease: Lease) -> None:
        """Note a lease before its work begins. Raises OSError."""
        self._write(self._held / f"{lease.token}.json", release_of(lease).as_bytes())

    def let_go(self, token: str) -> None:
        """The lease is nobody's concern here any more."""
        (self._held / f"{token}.json").unlink(missing_ok=True)

    def post(self, answer: KeptAnswer) -> None:
        """Keep an answer until it is acknowledged, on disk when this returns. Raises OSError."""
        self._write(self._outbox / f"{answer.token}.json", answer.as_bytes())
        self.let_go(answer.token)

    def delivered(self, answer: KeptAnswer) -> None:
        (self._outbox / f"{answer.token}.json").unlink(missing_ok=True)
        self.let_go(answer.token)

    def _write(self, file: Path, content: bytes) -> None:
        """All or nothing, also when the power fails."""
        unfinished = file.with_name(file.name + ".new")
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as opened:
                opened.write(content)
                opened.flush()
                os.fsync(opened.fileno())
            unfinished.replace(file)
        except OSError:
            unfinished.unlink(missing_ok=True)
            raise
        folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def left_behind(self) -> Iterator[KeptAnswer]:
        """What an earlier process left: its unacknowledged answers, and a release for each other lease."""
        answered = set()
        for file in self.outbox_files():
            kept = self._read(file)
            if kept is not None:
                answered.add(file.name)
                yield kept
        for file in self.held_files():
            kept = None if file.name in answered else self._read(file)
            if kept is not None:
                yield kept

    def _read(self, file: Path) -> KeptAnswer | None:
        try:
            answer = _KEPT_ANSWER.validate_python(json.loads(file.read_bytes()))
            UUID(answer.job_id)
        except ValueError as error:
            # Kept for a person: what it says can no longer be delivered, and must not stop the rest.
            file.replace(file.with_suffix(".unreadable"))
            log.error("%s cannot be read (%s) and is set aside as .unreadable", file, type(error).__name__)
            return None
        return answer
