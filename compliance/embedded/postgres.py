"""A PostgreSQL server of our own, from the binaries in a wheel."""

import os
import shutil
import signal
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import psycopg
from psycopg import sql

from compliance.embedded.errors import EmbeddedError
from compliance.embedded.home import Home, find_home
from compliance.embedded.keys import write_private
from compliance.embedded.ports import LOOPBACK
from compliance.embedded.processes import end_orphans, spawn, tail, working_in
from compliance.embedded.server import Server
from compliance.tenancy.database_roles import APP, OWNER, database_sql, roles_sql

DATABASE = "assay"
SUPERUSER = "postgres"


class Postgres(Server):
    name = "postgres"
    title = "PostgreSQL"
    # Fast shutdown, then immediate shutdown (the next start replays the log), then the end.
    stop_signals = ((signal.SIGINT, 5.0), (signal.SIGQUIT, 2.0))
    kill_signal = signal.SIGQUIT  # immediate shutdown: it ends its children at once, whatever they are doing

    def __init__(self, data_dir: Path, *, durable: bool = True, shared_buffers: str = "256MB") -> None:
        super().__init__(data_dir, durable=durable)
        self.shared_buffers = shared_buffers
        self.home: Home

    def url(self, user: str, database: str = DATABASE) -> str:
        return f"postgresql://{user}:{self.keys.get(user)}@{LOOPBACK}:{self.port}/{database}"

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
        self._end_orphans()
        if not (self.home.data / "PG_VERSION").exists():
            self._initialize()
        super().start()
        self._bootstrap()

    def remove(self) -> None:
        """Delete the cluster of a stopped server."""
        shutil.rmtree(self.home.data, ignore_errors=True)
        (self.data_dir / "postgres-folder").unlink(missing_ok=True)

    def _initialize(self) -> None:
        home = self.home
        # A first start that was killed half-way leaves files without PG_VERSION or with an incomplete rest; initdb
        # therefore works beside the real place and is moved there whole.
        fresh = home.data / "new"
        shutil.rmtree(fresh, ignore_errors=True)
        password = home.data / "password"
        write_private(password, self.keys.get(SUPERUSER))
        command = [
            *(home.binaries / "initdb", "-D", fresh, "-U", SUPERUSER, "--auth=scram-sha-256", f"--pwfile={password}"),
            *("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
            *(() if self.durable else ("--no-sync",)),
        ]
        if home.user:
            os.chown(password, home.user.pw_uid, home.user.pw_gid)
        try:
            done = spawn(command, log=self.log, env=_bare_environment(), cwd=Path("/"), user=home.user).wait()
        finally:
            password.unlink(missing_ok=True)
        if done != 0:
            raise EmbeddedError(f"PostgreSQL's initdb failed. The end of {self.log}:\n{tail(self.log)}")
        for path in sorted(fresh.iterdir(), key=lambda entry: entry.name == "PG_VERSION"):  # that one last
            path.rename(home.data / path.name)
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
        arguments = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        self.process = spawn(
            [self.home.binaries / "postgres", "-D", self.home.data, *arguments],
            log=self.log,
            env=_bare_environment(),
            cwd=Path("/"),
            user=self.home.user,
            death_signal=signal.SIGINT,
        )

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
                verifier = connection.pgconn.encrypt_password(
                    self.keys.get(role).encode(), role.encode(), b"scram-sha-256"
                )
                statement = sql.SQL("ALTER ROLE {} PASSWORD {}").format(
                    sql.Identifier(role), sql.Literal(verifier.decode())
                )
                connection.execute(statement)
            exists = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone()
        if not exists:
            create_database(self.superuser_url, DATABASE)

    def _end_orphans(self) -> None:
        """Nobody else holds the data folder's lock, so a server in there belongs to a supervisor that was killed."""
        orphans = working_in(self.home.data, "postgres")
        postmasters = [process for process in orphans if process.ppid() not in {other.pid for other in orphans}]
        ended = end_orphans(postmasters, [*self.stop_signals, (signal.SIGKILL, 2.0)])
        if not ended or not end_orphans(orphans, [(signal.SIGQUIT, 2.0)]):
            raise EmbeddedError(f"A PostgreSQL server in {self.home.data} does not stop (process {orphans[0].pid}).")
        pid_file = self.home.data / "postmaster.pid"
        pid = pid_file.read_text().partition("\n")[0] if pid_file.exists() else ""
        if pid.isdigit() and psutil.pid_exists(int(pid)):
            # A number that another program has meanwhile. PostgreSQL clears away all other leftovers by itself.
            pid_file.unlink()


def create_database(superuser_url: str, name: str, template: str | None = None) -> None:
    """Make a database that belongs to the owner role, with the rights that every one of ours has."""
    create = sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {}").format(
        sql.Identifier(name), sql.Identifier(OWNER), sql.Identifier(template or "template0")
    )
    rights = sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC; GRANT CONNECT ON DATABASE {} TO {}").format(
        sql.Identifier(name), sql.Identifier(name), sql.Identifier(APP)
    )
    with psycopg.connect(superuser_url, autocommit=True) as connection:
        connection.execute(create)
        connection.execute(rights)
    with psycopg.connect(superuser_url, dbname=name, autocommit=True) as connection:
        connection.execute(database_sql().encode())


def drop_database(superuser_url: str, name: str) -> None:
    """Drop a database, if it is there, with whoever is still connected to it."""
    with psycopg.connect(superuser_url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def _bare_environment() -> dict[str, str]:
    """The server gets no variable of ours: some hold secrets, and PG… ones would change it."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}
