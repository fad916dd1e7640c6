"""What `make run` runs, in which order and with which environment."""

import json
import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from compliance.embedded.errors import EmbeddedError
from compliance.embedded.keys import KeyFile, write_private
from compliance.embedded.ports import LOOPBACK, is_free
from compliance.embedded.postgres import Postgres
from compliance.embedded.processes import Child
from compliance.embedded.programs import Program
from compliance.embedded.redis import Redis

PROJECT = Path(__file__).resolve().parents[2]
# What the demo's private runner needs of the environment: it stands for a program on another machine, and gets no key.
RUNNER_NEEDS = ("PATH", "HOME", "LANG", "TMPDIR", "A2A_TCK_PATH")
# Exit codes with which it says that it cannot work here, as when its token was replaced (docs/runners.md).
RUNNER_GIVES_UP = (2, 3, 5, 6)
# What a command in another terminal needs to reach this database.
FOR_OTHERS = ("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "ASSAY_VAULT_KEYS", "SITE_URL", "ALLOWED_HOSTS", "EMAIL_URL")


class Plan:
    """The environment grows as servers and demo agents come up, so commands ask for it when they start."""

    def __init__(self, data_dir: Path, port: int, given: Mapping[str, str]) -> None:
        self.data_dir = data_dir.resolve()
        self.port = port
        self.given = given
        self.site_url = given.get("SITE_URL") or f"http://localhost:{port}"
        self.keys = KeyFile(self.data_dir / "keys.json")
        self.agents_file = self.data_dir / "demo-agents.json"
        self.runner_allow_file = self.data_dir / "demo-runner.allow"
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
        if not is_free(self.port):
            raise EmbeddedError(f"Port {self.port} is taken by another program. Choose another one: make run PORT=8001")

    def children(self) -> Sequence[Child]:
        celery = ("-m", "celery", "-A", "compliance.celery:app")
        worker = ("worker", "--pool=threads", f"--concurrency={self.given.get('WORKER_CONCURRENCY', '4')}")
        beat = ("beat", f"--schedule={self.data_dir / 'beat-schedule'}", "--pidfile=")
        quiet = ("--hostname=hosted@%h", "--without-gossip", "--without-mingle", "--loglevel=info")
        return [
            *(server for server in (self.postgres, self.redis) if server is not None),
            self._command("migrate", "migrate", "--noinput", environment=self.owner_environment),
            self._command("suites", "publish_suites"),
            self._command("static files", "collectstatic", "--noinput"),
            *(self._demo() if self.demo else ()),
            self._program("worker", *celery, *worker, *quiet, grace=4.0),
            self._program("beat", *celery, *beat, grace=1.0),
            self._program("web", "-m", "compliance.server", ready=lambda output: self._web_answers()),
            *([self._demo_runner()] if self.demo else []),
        ]

    def ready_message(self) -> str:
        environment, path = self.environment(), self.data_dir / "env"
        names = [name for name in (*FOR_OTHERS, "ASSAY_DEMO") if name in environment]
        write_private(path, "".join(f"{name}={shlex.quote(environment[name])}\n" for name in names))
        return (
            f"\nAssay runs at {self.site_url}\n"
            f"For manage.py in another terminal: set -a; . {shlex.quote(str(path))}; set +a\n"
            f"Ctrl-C stops everything. Data, sent mail and logs are in {self.data_dir} (mail/, log/)."
        )

    # Environments

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

    def _agents_hosts(self) -> list[str]:
        return sorted({urlsplit(url).netloc for url in self.agents.values()})

    # Programs

    def _program(self, name: str, *arguments: str, **options: Any) -> Program:
        log = self.data_dir / "log" / f"{name.replace(' ', '-')}.log"
        environment: Callable[[], Mapping[str, str]] = options.pop("environment", self.environment)
        return Program(name, [sys.executable, *arguments], log, environment, cwd=PROJECT, **options)

    def _command(self, name: str, *arguments: str, **options: Any) -> Program:
        return self._program(name, str(PROJECT / "manage.py"), *arguments, "--verbosity=0", once=True, **options)

    def _demo(self) -> Sequence[Program]:
        """The demo's agents keep the ports of their first start: everybody else knows them by their addresses."""
        ports = ("--port-file", str(self.data_dir / "demo-port-base"))
        token = str(self.data_dir / "demo-runner.token")
        files = ("--agents-json", str(self.agents_file), "--runner-token-file", token)
        return (
            self._program("demo agents", "-m", "compliance.demo_agents", *ports, ready=self._note_agents, grace=1.0),
            self._command("demo data", "seed_demo", *files, show_output=True),
        )

    def _demo_runner(self) -> Program:
        """A private runner of a demo organization. The rest does not wait for it, and goes on without it."""
        return self._program(
            *("runner", "-m", "compliance.runners.program", "--url", self.site_url, "--grace", "0"),
            *("--token-file", str(self.data_dir / "demo-runner.token"), "--allow-file", str(self.runner_allow_file)),
            *("--state-dir", str(self.data_dir / "demo-runner")),
            environment=lambda: {name: self.given[name] for name in RUNNER_NEEDS if name in self.given},
            grace=6.0,
            spare=True,
            final=RUNNER_GIVES_UP,
        )

    def _note_agents(self, output: str) -> bool:
        """The demo agents say with one line of JSON where they are, once they answer."""
        for line in output.splitlines():
            with suppress(ValueError):
                if line.startswith("{"):
                    self.agents = json.loads(line)
                    write_private(self.agents_file, json.dumps(self.agents))
                    write_private(self.runner_allow_file, "\n".join([*self._agents_hosts(), ""]))
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
