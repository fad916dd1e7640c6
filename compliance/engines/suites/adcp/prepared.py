"""What each run of the official runner would otherwise do again: reading its YAML, and compiling its modules.

`scripts/install` and `assay-runner install-engines` do it once, into the package's own folder, which goes when the
package is installed anew. No run writes there: nobody but root may, and what a run loads is all there already. Who
could change it all the same could change the package itself, so it is trusted as the package is, and no further.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from compliance.engines.process.node_runtime import node, package

log = logging.getLogger(__name__)

PACKAGE = "@adcp/sdk"
# Few and large rather than many and small collections of what is soon forgotten, and none of what is kept: a run ends
# with less of it than there is room for before the first. A run with half the room took 4 to 9 % more processor time.
# Node compiles for exactly these flags: what was prepared with others is not used.
NODE_FLAGS = (
    "--max-old-space-size=320",  # MiB, as all of them; a runner that needs more ends by itself
    "--initial-old-space-size=128",
    "--min-semi-space-size=32",
    "--max-semi-space-size=32",  # there are three: with the rest it stays within what a run may take
)

_PREPARE = Path(__file__).with_name("prepare.cjs")
_PARSED = "storyboards.json"
_COMPILED = "compiled"
_SECONDS = 120.0


def folder_of(sdk: Path) -> Path:
    """Where the installed package keeps what was prepared."""
    return sdk / ".assay-prepared"


def prepare_installed() -> None:
    """Prepare the package that is installed here. Raises RuntimeMissing, OSError, SubprocessError."""
    installed = package(PACKAGE).path
    prepare(installed, folder_of(installed))


def prepare(sdk: Path, folder: Path) -> None:
    """Prepare the package for its runs, whole or not at all. Raises RuntimeMissing, OSError, SubprocessError."""
    own = Path(tempfile.mkdtemp(prefix=f"{folder.name}-", dir=folder.parent))
    try:
        own.chmod(0o755)  # the workers may be another user than who installs
        subprocess.run(  # noqa: S603
            [os.fspath(node()), *NODE_FLAGS, os.fspath(_PREPARE), os.fspath(sdk), os.fspath(own / _PARSED)],
            # egress.cjs, which every run loads, wants to know of a proxy; nothing is sent to it here.
            env={"NODE_COMPILE_CACHE": os.fspath(own / _COMPILED), "HTTP_PROXY": "http://127.0.0.1:9"},
            timeout=_SECONDS,
            check=True,
        )
        for path in (own / _COMPILED).iterdir():
            for file in path.iterdir():
                file.chmod(0o444)
            path.chmod(0o555)
        (own / _PARSED).chmod(0o444)
        _remove(folder)
        own.rename(folder)
    finally:
        _remove(own)


def _remove(folder: Path) -> None:
    for path in (folder / _COMPILED).glob("*"):
        path.chmod(0o755)
    if folder.exists():
        shutil.rmtree(folder)


def parsed_storyboards(prepared: Path) -> str:
    """The file that driver.cjs takes as `parsed`, or "" when there is none."""
    path = prepared / _PARSED
    return os.fspath(path) if path.is_file() else ""


def link_compiled(prepared: Path, folder: Path) -> dict[str, str]:
    """Show a run the compiled modules, by a link inside `folder`; what to add to its environment.

    Where nothing was prepared, or it cannot be linked, the run compiles for itself, in a little more time.
    """
    mine = folder / _COMPILED
    try:
        # Node names the one folder inside after its version, its flags and, last, the user, who may be another here.
        (compiled,) = (prepared / _COMPILED).iterdir()
        mine.mkdir()
        (mine / f"{compiled.name.rpartition('-')[0]}-{os.getuid()}").symlink_to(compiled)
    except (OSError, ValueError) as error:
        log.debug("The runner's compiled modules are not there (%s)", type(error).__name__)
        shutil.rmtree(mine, ignore_errors=True)
        return {}
    return {"NODE_COMPILE_CACHE": os.fspath(mine)}
