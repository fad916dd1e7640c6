"""One holder for each data folder, for as long as its process lives."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from compliance.embedded.errors import AlreadyRunning, EmbeddedError


@contextmanager
def data_lock(data_dir: Path, *, address: str) -> Iterator[None]:
    """The kernel drops the lock when its holder dies, however it dies: nothing is ever left to clean up."""
    path = data_dir / "lock"
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise EmbeddedError(f"Cannot write to {data_dir}: {error.strerror}. DATA_DIR= moves it.") from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunning(
                f"Assay is already running in {data_dir}, {_holder(path)}. "
                "Stop that one, or start this one with another DATA_DIR=."
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps({"pid": os.getpid(), "address": address}).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _holder(path: Path) -> str:
    try:
        holder = json.loads(path.read_text())
        return f"at {holder['address']} (process {holder['pid']})"
    except (OSError, ValueError, KeyError):
        return "(it has only just started)"
