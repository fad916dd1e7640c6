"""Starts PostgreSQL and Redis before Django reads its settings, and gives each test process a database of its own.

Loaded by `-p` in pyproject.toml: conftest.py would be too late, because pytest-django loads the settings first.
"""

from __future__ import annotations

import atexit
import os
from contextlib import ExitStack
from urllib.parse import urlsplit, urlunsplit

WORKER = os.environ.get("PYTEST_XDIST_WORKER", "main")
DATABASE = f"test_{WORKER}"


def _with_path(url: str, path: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{path}"))


def _start() -> None:
    if "TEST_SERVICES" not in os.environ:
        from tests.servers import services

        stack = ExitStack()
        atexit.register(stack.close)
        running = stack.enter_context(services(durable=False))
        os.environ.update(running.environment())
        os.environ["TEST_SERVICES"] = "started"
    redis_database = int(WORKER.removeprefix("gw")) + 1 if WORKER.startswith("gw") else 0
    os.environ.update(
        DATABASE_URL=_with_path(os.environ["DATABASE_URL"], DATABASE),
        DATABASE_OWNER_URL=_with_path(os.environ["DATABASE_OWNER_URL"], DATABASE),
        REDIS_URL=_with_path(os.environ["REDIS_URL"], str(redis_database)),
        SECRET_KEY="only-for-tests-" + "0123456789" * 5,
        ASSAY_VAULT_KEYS="dGVzdHMtb25seS10ZXN0cy1vbmx5LXRlc3RzLW9ubHk",
        SITE_URL="http://testserver",
        ALLOWED_HOSTS="testserver,localhost,127.0.0.1",
        ASSAY_EGRESS_ALLOW="127.0.0.0/8,localhost,::1",
        ASSAY_TICK_DEAD_AFTER_SECONDS="86400",  # no beat runs beside the tests
        ACCOUNT_EMAIL_VERIFICATION="optional",
    )


_start()
