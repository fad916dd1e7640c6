"""Generated passwords, in one file that only its owner may read."""

import json
import os
import secrets
from pathlib import Path


class KeyFile:
    """Makes a key the first time it is asked for, and gives the same one ever after."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def get(self, name: str) -> str:
        keys: dict[str, str] = json.loads(self.path.read_text()) if self.path.exists() else {}
        if name not in keys:
            keys[name] = secrets.token_urlsafe(32)
            write_private(self.path, json.dumps(keys, indent=1))
        return keys[name]


def write_private(path: Path, text: str) -> None:
    """Replace a file in one move, so that a crash leaves the old or the new one; mode 0600 from its first byte."""
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    fresh.replace(path)
