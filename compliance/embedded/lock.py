"""One holder for each data folder, for as long as its process lives."""

import fcntl
import json
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from compliance.embedded.errors import AlreadyRunning, EmbeddedError


class DataLock:
    """The kernel drops the lock when its holder dies, however it dies: nothing is ever left to clean up."""

    def __init__(self, data_dir: Path, *, address: str) -> None:
        self.path = data_dir / "lock"
        self.address = address
        self._descriptor: int | None = None

    def acquire(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise EmbeddedError(f"Cannot write to {self.path.parent}: {error.strerror}. DATA_DIR= moves it.") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise AlreadyRunning(self._describe_holder()) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps({"pid": os.getpid(), "address": self.address}).encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _describe_holder(self) -> str:
        try:
            holder = json.loads(self.path.read_text())
            who = f"at {holder['address']} (process {holder['pid']})"
        except (OSError, ValueError, KeyError):
            who = "(it has only just started)"
        folder = self.path.parent
        return f"Assay is already running in {folder}, {who}. Stop that one, or start this one with another DATA_DIR=."
