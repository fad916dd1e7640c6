"""The data folder: who holds it, the passwords in it, and what goes wrong with it."""

import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class EmbeddedError(Exception):
    """A start, step or stop that did not work. The message is all that a person is shown."""


@contextmanager
def data_lock(data_dir: Path, *, address: str) -> Iterator[None]:
    """The kernel drops the lock when its holder dies, however it dies: nothing is ever left to clean up."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except (FileExistsError, NotADirectoryError):
        raise EmbeddedError(f"{data_dir} is not a folder. DATA_DIR= names another one.") from None
    except OSError as error:
        raise EmbeddedError(f"Cannot write to {data_dir}: {error.strerror}. DATA_DIR= moves it.") from None
    with open(descriptor, "r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise EmbeddedError(
                f"Assay is already running in {data_dir}, {file.read() or '(it has only just started)'}. "
                "Stop that one, or start this one with another DATA_DIR=."
            ) from None
        file.truncate()
        file.write(f"at {address} (process {os.getpid()})")
        file.flush()
        yield


def kept_key(data_dir: Path, name: str) -> str:
    """The folder's key of this name, made the first time that it is asked for."""
    path = data_dir / "keys.json"
    keys: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    if name not in keys:
        keys[name] = secrets.token_urlsafe(32)
        write_private(path, json.dumps(keys, indent=1))
    return keys[name]


def write_private(path: Path, text: str) -> None:
    """Replace a file in one move, so that a crash leaves the old or the new one; mode 0600 from its first byte."""
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    fresh.replace(path)
