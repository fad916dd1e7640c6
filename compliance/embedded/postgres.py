"""A PostgreSQL server of our own, from the binaries in a wheel."""

import os
import shutil
import signal
import time
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import psycopg
from psycopg import sql

from compliance.embedded.errors import EmbeddedError
from compliance.embedded.home import Home, find_home
from compliance.embedded.keys import KeyFile, write_private
from compliance.embedded.ports import LOOPBACK, free_port
from compliance.embedded.processes import Child, end_orphans, spawn, tail, wait_until, working_in
from compliance.tenancy.database_roles import APP, OWNER, database_sql, roles_sql

DATABASE = "assay"
SUPERUSER = "postgres"


class Postgres(Child):
    """Loopback only, password only. `start()` may be called again after a crash and keeps the port."""

    name = "postgres"
    # Fast shutdown, then immediate shutdown (the next start replays the log), then the end.
    stop_signals = ((signal.SIGINT, 5.0), (signal.SIGQUIT, 2.0))
    kill_signal = signal.SIGQUIT  # immediate shutdown: it ends its children at once, whatever they are doing

    def __init__(self, data_dir: Path, *, durable: bool = True, shared_buffers: str = "256MB") -> None:
        self.data_dir = data_dir.resolve()
        self.durable = durable
        self.shared_buffers = shared_buffers
        self.log = self.data_dir / "log" / "postgres.log"
        self.keys = KeyFile(self.data_dir / "keys.json")
        self.port: int | None = None
        self._home: Home | None = None

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
        home = self._home = find_home(self.data_dir)
        self._end_orphans(home)
        if not (home.data / "PG_VERSION").exists():
            self._initialize(home)
        self._write_access_rules(home)
        for attempt in range(5):  # the free port may be taken meanwhile; a killed server's memory may linger a moment
            self.port = self.port if self.port and attempt == 0 else free_port()
            if self._launch(home):
                break
        else:
            raise EmbeddedError(f"PostgreSQL does not start. The end of {self.log}:\n{tail(self.log)}")
        self._bootstrap()

    def remove(self) -> None:
        """Delete the cluster of a stopped server."""
        if self._home:
            shutil.rmtree(self._home.data, ignore_errors=True)
            (self.data_dir / "postgres-folder").unlink(missing_ok=True)

    def create_database(self, name: str, template: str | None = None) -> None:
        create_database(self.superuser_url, name, template)

    def drop_database(self, name: str) -> None:
        drop_database(self.superuser_url, name)

    def _initialize(self, home: Home) -> None:
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

    def _write_access_rules(self, home: Home) -> None:
        rules = home.data / "pg_hba.conf"
        write_private(rules, f"host all all {LOOPBACK}/32 scram-sha-256\n")
        if home.user:
            os.chown(rules, home.user.pw_uid, home.user.pw_gid)

    def _launch(self, home: Home) -> bool:
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
            [home.binaries / "postgres", "-D", home.data, *arguments],
            log=self.log,
            env=_bare_environment(),
            cwd=Path("/"),
            user=home.user,
            death_signal=signal.SIGINT,
        )
        deadline = time.monotonic() + 60  # replaying the log after a crash takes its time
        while self.process.poll() is None:
            try:
                psycopg.connect(self.superuser_url, connect_timeout=5).close()
            except psycopg.OperationalError:
                if not wait_until(deadline):
                    self.kill()
                    return False
            else:
                return True
        return False

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
            self.create_database(DATABASE)

    def _end_orphans(self, home: Home) -> None:
        """Nobody else holds the data folder's lock, so a server in there belongs to a supervisor that was killed."""
        orphans = working_in(home.data, "postgres")
        postmasters = [process for process in orphans if process.ppid() not in {other.pid for other in orphans}]
        ended = end_orphans(postmasters, [*self.stop_signals, (signal.SIGKILL, 2.0)])
        if not ended or not end_orphans(orphans, [(signal.SIGQUIT, 2.0)]):
            raise EmbeddedError(f"A PostgreSQL server in {home.data} does not stop (process {orphans[0].pid}).")
        pid_file = home.data / "postmaster.pid"
        if pid_file.exists() and _is_alive(pid_file.read_text().partition("\n")[0]):
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


def _is_alive(pid: str) -> bool:
    return pid.isdigit() and psutil.pid_exists(int(pid))


def _bare_environment() -> dict[str, str]:
    """The server gets no variable of ours: some hold secrets, and PG… ones would change it."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}
