"""What `make run` runs, in which order and with which environment."""

import json
import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from itertools import chain
from pathlib import Path
from urllib.parse import quote, urlsplit

from compliance.embedded.errors import EmbeddedError
from compliance.embedded.keys import KeyFile, write_private
from compliance.embedded.ports import LOOPBACK, free_range, is_free
from compliance.embedded.postgres import Postgres
from compliance.embedded.programs import Program, Runnable, Step
from compliance.embedded.redis import Redis

PROJECT = Path(__file__).resolve().parents[2]
DEMO_PORTS = 16
# What the demo's private runner needs of the environment: it stands for a program on another machine, and gets no key.
RUNNER_NEEDS = ("PATH", "HOME", "LANG", "TMPDIR", "A2A_TCK_PATH")
# Exit codes with which it says that it cannot work here, as when its token was replaced (docs/runners.md).
RUNNER_GIVES_UP = (2, 3, 5, 6)


class Plan:
    """The environment grows as servers and demo agents come up, so commands ask for it when they start."""

    def __init__(self, data_dir: Path, port: int, given: Mapping[str, str]) -> None:
        self.data_dir = data_dir.resolve()
        self.port = port
        self.given = given
        self.site_url = given.get("SITE_URL") or f"http://localhost:{port}"
        self.keys = KeyFile(self.data_dir / "keys.json")
        self.agents_file = self.data_dir / "demo-agents.json"
        self.runner_token_file = self.data_dir / "demo-runner.token"
        self.runner_allow_file = self.data_dir / "demo-runner.allow"
        self.agents: dict[str, str] = {}
        self.demo_port_base = 0
        self.postgres = None if given.get("DATABASE_URL") else Postgres(self.data_dir)
        self.redis = None if given.get("REDIS_URL") else Redis(self.data_dir)
        self.demo = given.get("ASSAY_DEMO", "1").lower() in ("1", "true", "yes", "on")

    def check(self) -> None:
        """What would fail later and less clearly."""
        if self.postgres is None and not self.given.get("DATABASE_OWNER_URL"):
            raise EmbeddedError(
                "DATABASE_URL is set, so that database is used; then DATABASE_OWNER_URL must name the role that owns "
                "it, for the migrations. Unset both to use a database of our own."
            )
        if not is_free(self.port):
            raise EmbeddedError(f"Port {self.port} is taken by another program. Choose another one: make run PORT=8001")

    def items(self) -> Sequence[Runnable | Step]:
        servers: list[Runnable] = [server for server in (self.postgres, self.redis) if server is not None]
        preparation = [
            self._step("migrate", "migrate", "--noinput", "--verbosity=0", environment=self.owner_environment),
            self._step("suites", "publish_suites", "--verbosity=0"),
            self._step("static files", "collectstatic", "--noinput", "--verbosity=0"),
        ]
        demo: list[Runnable | Step] = []
        if self.demo:
            files = ("--agents-json", str(self.agents_file), "--runner-token-file", str(self.runner_token_file))
            seed = self._step("demo data", "seed_demo", *files)
            seed.show_output = True
            demo = [self._demo_agents(), seed]
        celery = ("-m", "celery", "-A", "compliance.celery:app")
        concurrency = self.given.get("WORKER_CONCURRENCY", "4")
        return [
            *servers,
            *preparation,
            *demo,
            self._program(
                "worker",
                *celery,
                "worker",
                "--pool=threads",
                f"--concurrency={concurrency}",
                *("--hostname=hosted@%h", "--without-gossip", "--without-mingle", "--loglevel=info"),
                grace=4.0,
            ),
            self._program(
                "beat", *celery, "beat", f"--schedule={self.data_dir / 'beat-schedule'}", "--pidfile=", grace=1.0
            ),
            self._program(
                "web",
                *("-m", "compliance.server"),
                ready=lambda output: self._web_answers(),
            ),
            *([self._demo_runner()] if self.demo else []),
        ]

    def ready_message(self) -> str:
        env_file = self._write_env_file()
        return (
            f"\nAssay runs at {self.site_url}\n"
            f"For manage.py in another terminal: set -a; . {env_file}; set +a\n"
            f"Ctrl-C stops everything. Data, sent mail and logs are in {self.data_dir} (mail/, log/)."
        )

    def _write_env_file(self) -> Path:
        """What a command in another terminal needs to reach this database. Private, because it holds passwords."""
        wanted = (
            *("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "ASSAY_VAULT_KEYS"),
            *("SITE_URL", "ALLOWED_HOSTS", "EMAIL_URL", "ASSAY_DEMO"),
        )
        environment = self.environment()
        path = self.data_dir / "env"
        lines = [f"{name}={shlex.quote(environment[name])}\n" for name in wanted if name in environment]
        write_private(path, "".join(lines))
        return path

    def environment(self) -> dict[str, str]:
        environment = {
            "SECRET_KEY": self.keys.get("secret_key"),
            "ASSAY_VAULT_KEYS": self.keys.get("vault_key"),
            "ASSAY_DEMO": "1" if self.demo else "0",
            "ALLOWED_HOSTS": "localhost,127.0.0.1,[::1]",
            "EMAIL_URL": f"filemail:///{quote(str(self.data_dir / 'mail'))}",
            "DEBUG": "false",
            "WEB_CONCURRENCY": "2",
            **self.given,
            "SITE_URL": self.site_url,
            "STATIC_ROOT": str(self.data_dir / "static"),
            "PORT": str(self.port),
            "PYTHONUNBUFFERED": "1",
        }
        if self.postgres:
            environment["DATABASE_URL"] = self.postgres.app_url
        environment.pop("DATABASE_OWNER_URL", None)
        if self.redis:
            environment["REDIS_URL"] = self.redis.url
        if self.agents:
            allowed = [*filter(None, [self.given.get("ASSAY_EGRESS_ALLOW")]), *self._agents_hosts()]
            environment["ASSAY_EGRESS_ALLOW"] = ",".join(allowed)
        return environment

    def _agents_hosts(self) -> list[str]:
        return sorted({urlsplit(url).netloc for url in self.agents.values()})

    def owner_environment(self) -> dict[str, str]:
        """With the right to change tables, which nothing that serves or works has."""
        owner_url = self.postgres.owner_url if self.postgres else self.given["DATABASE_OWNER_URL"]
        return {**self.environment(), "DATABASE_OWNER_URL": owner_url}

    # Commands

    def _step(self, name: str, *arguments: str, environment: Callable[[], dict[str, str]] | None = None) -> Step:
        command = [sys.executable, str(PROJECT / "manage.py"), *arguments]
        return Step(name, command, self._log(name), environment or self.environment, cwd=PROJECT)

    def _program(
        self, name: str, *arguments: str, ready: Callable[[str], bool] | None = None, grace: float = 3.0
    ) -> Program:
        command = [sys.executable, *arguments]
        return Program(name, command, self._log(name), self.environment, cwd=PROJECT, ready=ready, grace=grace)

    def _log(self, name: str) -> Path:
        return self.data_dir / "log" / f"{name.replace(' ', '-')}.log"

    def _demo_agents(self) -> Program:
        agents = self._program("demo agents", "-m", "compliance.demo_agents", ready=self._note_agents, grace=1.0)
        agents.arguments = self._demo_ports
        agents.elsewhere = (os.EX_TEMPFAIL,)  # somebody took a port since it was found free
        return agents

    def _demo_ports(self) -> Sequence[str]:
        """Chosen anew at each start until the agents have said where they are: from then on others know it."""
        if not self.agents:
            self.demo_port_base = self._demo_port_base()
        return "--port-base", str(self.demo_port_base)

    def _demo_runner(self) -> Program:
        """A private runner of a demo organization. The rest does not wait for it, and goes on without it."""
        options = {"--url": self.site_url, "--token-file": str(self.runner_token_file), "--grace": "0"}
        options |= {"--state-dir": str(self.data_dir / "demo-runner"), "--allow-file": str(self.runner_allow_file)}
        runner = self._program(
            "runner", "-m", "compliance.runners.program", *chain.from_iterable(options.items()), grace=6.0
        )
        runner.environment = self._runner_environment
        runner.spare, runner.final = True, RUNNER_GIVES_UP
        return runner

    def _runner_environment(self) -> dict[str, str]:
        return {name: self.given[name] for name in RUNNER_NEEDS if name in self.given}

    def _demo_port_base(self) -> int:
        """The same ports at every start if possible: an agent is known by its URL."""
        note = self.data_dir / "demo-port-base"
        with suppress(FileNotFoundError, ValueError):
            base = int(note.read_text())
            if free_range(base, DEMO_PORTS, attempts=1) is not None:
                return base
        free = free_range(9100, DEMO_PORTS)
        if free is None:
            raise EmbeddedError("No free ports for the demo agents. ASSAY_DEMO=0 runs without them.")
        note.write_text(str(free))
        return free

    def _note_agents(self, output: str) -> bool:
        """The demo agents say with one line of JSON where they are, once they answer."""
        for line in output.splitlines():
            if line.startswith("{"):
                with suppress(ValueError):
                    self.agents = {name: url for name, url in json.loads(line).items() if isinstance(url, str)}
                    write_private(self.agents_file, json.dumps(self.agents))
                    write_private(self.runner_allow_file, "\n".join([*self._agents_hosts(), ""]))
                    return True
        return False

    def _web_answers(self) -> bool:
        """Any answer but an internal error: health may rightly be bad until the worker is up."""
        connection = HTTPConnection(LOOPBACK, self.port, timeout=2)
        try:
            connection.request("GET", "/healthz", headers={"Host": f"localhost:{self.port}"})
            return connection.getresponse().status != 500
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()


def plan_from_environment(environment: Mapping[str, str] = os.environ) -> Plan:
    port = environment.get("PORT") or "8000"
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise EmbeddedError(f"PORT={port} is not a port number.")
    return Plan(Path(environment.get("DATA_DIR") or ".data"), int(port), environment)
