"""Installs a package that brings engines, as pip would, into a folder of its own and without a network."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path

OUTSIDE = Path(__file__).parent / "outside"


def install(package: Path, target: Path) -> Path:
    """The package's modules and its metadata, where Python finds them; returns the folder for PYTHONPATH.

    Written by hand: without a network pip can build nothing here, because building needs the package `wheel`.
    """
    described = tomllib.loads((package / "pyproject.toml").read_text())["project"]
    name, version = described["name"].replace("-", "_"), described["version"]
    target.mkdir(parents=True, exist_ok=True)
    for module in package.glob("*.py"):
        shutil.copy(module, target)
    metadata = target / f"{name}-{version}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {described['name']}\nVersion: {version}\n")
    lines = []
    for group, entries in described["entry-points"].items():
        lines += [f"[{group}]", *(f"{entry} = {where}" for entry, where in entries.items())]
    (metadata / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return target
