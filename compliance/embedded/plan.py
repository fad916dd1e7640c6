"""What `make run` runs, in which order and with which environment."""

import json
import os
import shlex
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from compliance.embedded.folder import EmbeddedError, kept_key, write_private
from compliance.embedded.postgres import Postgres
from compliance.embedded.processes import Program
from compliance.embedded.servers import LOOPBACK, Redis

PROJECT = Path(__file__).resolve().parents[2]
# What the demo's private runner needs of the environment: it stands for a program on another machine, and gets no key.
RUNNER_NEEDS = ("PATH", "HOME", "LANG", "TMPDIR", "A2A_TCK_PATH")
# Exit codes with which it says that it cannot work here, as when its token was replaced (docs/runners.md).
RUNNER_GIVES_UP = (2, 3, 5, 6)
# What a command in another terminal needs to reach this database.
FOR_OTHERS = (
    *("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "ASSAY_VAULT_KEYS", "SITE_URL", "ALLOWED_HOSTS", "EMAIL_URL"),
    "ASSAY_DEMO",
)


class Plan:
    """The environment grows as servers and demo agents come up, so programs ask for it when they start."""

    def __init__(self, data_dir: Path, port: int, given: Mapping[str, str]) -> None:
        self.data_dir = data_dir.resolve()
        self.port = port
        self.given = given
        self.site_url = given.get("SITE_URL") or f"http://localhost:{port}"
        self.agents: dict[str, str] = {}
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
        try:
            socket.create_server((LOOPBACK, self.port)).close()
        except OSError:
            taken = f"Port {self.port} is taken by another program. Choose another one: make run PORT=8001"
            raise EmbeddedError(taken) from None

    def ready_message(self) -> str:
        environment, path = self.environment(), self.data_dir / "env"
        lines = [f"{name}={shlex.quote(environment[name])}\n" for name in FOR_OTHERS if name in environment]
        write_private(path, "".join(lines))
        return (
            f"\nAssay runs at {self.site_url}\n"
            f"For manage.py in another terminal: set -a; . {shlex.quote(str(path))}; set +a\n"
            f"Ctrl-C stops everything. Data, sent mail and logs are in {self.data_dir} (mail/, log/)."
        )

    # Environments

    def environment(self) -> dict[str, str]:
        environment = {
            "SECRET_KEY": kept_key(self.data_dir, "secret_key"),
            "ASSAY_VAULT_KEYS": kept_key(self.data_dir, "vault_key"),
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
        environment.pop("DATABASE_OWNER_URL", None)
        if self.postgres:
            environment["DATABASE_URL"] = self.postgres.app_url
        if self.redis:
            environment["REDIS_URL"] = self.redis.url
        if self.agents:
            allowed = [*filter(None, [self.given.get("ASSAY_EGRESS_ALLOW")]), *self._agents_hosts()]
            environment["ASSAY_EGRESS_ALLOW"] = ",".join(allowed)
        return environment

    def owner_environment(self) -> dict[str, str]:
        """With the right to change tables, which nothing that serves or works has."""
        owner_url = self.postgres.owner_url if self.postgres else self.given["DATABASE_OWNER_URL"]
        return {**self.environment(), "DATABASE_OWNER_URL": owner_url}

    def runner_environment(self) -> dict[str, str]:
        return {name: self.given[name] for name in RUNNER_NEEDS if name in self.given}

    def _agents_hosts(self) -> list[str]:
        return sorted({urlsplit(url).netloc for url in self.agents.values()})

    # Programs

    def programs(self) -> Sequence[Program]:
        worker = ("worker", "--pool=threads", f"--concurrency={self.given.get('WORKER_CONCURRENCY', '4')}")
        quiet = ("--hostname=hosted@%h", "--without-gossip", "--without-mingle", "--loglevel=info")
        beat = ("beat", f"--schedule={self.data_dir / 'beat-schedule'}", "--pidfile=")
        celery = ("-m", "celery", "-A", "compliance.celery:app")
        # The agents keep the ports of their first start: everybody else knows them by their addresses.
        agents = ("-m", "compliance.demo_agents", "--port-file", self._file("demo-port-base"))
        token = self._file("demo-runner.token")
        seed = ("seed_demo", "--agents-json", self._file("demo-agents.json"), "--runner-token-file", token)
        # A private runner of a demo organization. The rest does not wait for it, and goes on without it.
        runner = (
            *("-m", "compliance.runners.program", "--url", self.site_url, "--grace", "0", "--token-file", token),
            *("--allow-file", self._file("demo-runner.allow"), "--state-dir", self._file("demo-runner")),
        )
        free = {"grace": 6.0, "spare": True, "final": RUNNER_GIVES_UP, "environment": self.runner_environment}
        programs = [
            self.postgres,
            self.redis,
            self._command("migrate", "migrate", "--noinput", environment=self.owner_environment),
            self._command("suites", "publish_suites"),
            self._command("static files", "collectstatic", "--noinput"),
            self._program("demo agents", *agents, ready=self._note_agents, grace=1.0) if self.demo else None,
            self._command("demo data", *seed, show_output=True) if self.demo else None,
            self._program("worker", *celery, *worker, *quiet, grace=4.0),
            self._program("beat", *celery, *beat, grace=1.0),
            self._program("web", "-m", "compliance.server", ready=lambda output: self._web_answers()),
            self._program("runner", *runner, **free) if self.demo else None,
        ]
        return [program for program in programs if program]

    def _file(self, name: str) -> str:
        return str(self.data_dir / name)

    def _program(self, name: str, *arguments: str, **options: Any) -> Program:
        log = self.data_dir / "log" / f"{name.replace(' ', '-')}.log"
        options = {"environment": self.environment, "cwd": PROJECT, **options}
        return Program(name, [sys.executable, *arguments], log, **options)

    def _command(self, name: str, *arguments: str, **options: Any) -> Program:
        return self._program(name, str(PROJECT / "manage.py"), *arguments, "--verbosity=0", once=True, **options)

    def _note_agents(self, output: str) -> bool:
        """The demo agents say with one line of JSON where they are, once they answer."""
        for line in output.splitlines():
            with suppress(ValueError):
                if line.startswith("{"):
                    self.agents = json.loads(line)
                    write_private(self.data_dir / "demo-agents.json", json.dumps(self.agents))
                    write_private(self.data_dir / "demo-runner.allow", "\n".join([*self._agents_hosts(), ""]))
                    return True
        return False

    def _web_answers(self) -> bool:
        """Any answer but an internal error: health may rightly be bad until the worker is up."""
        try:
            url = f"http://{LOOPBACK}:{self.port}/healthz"
            headers = {"Host": f"localhost:{self.port}"}
            return httpx.get(url, headers=headers, timeout=2, trust_env=False).status_code != 500
        except httpx.TransportError:
            return False


def plan_from_environment(environment: Mapping[str, str] = os.environ) -> Plan:
    port = environment.get("PORT") or "8000"
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise EmbeddedError(f"PORT={port} is not a port number.")
    return Plan(Path(environment.get("DATA_DIR") or ".data"), int(port), environment)
