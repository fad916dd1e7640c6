"""PostgreSQL restarted under the web process: an error page while it is away, then normal again."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.processes import ROOT, wait_for, web
from tests.servers import services

pytestmark = pytest.mark.processes

_SEED = """
from django.contrib.auth import SESSION_KEY, BACKEND_SESSION_KEY, HASH_SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from django.conf import settings
from compliance.models import User
from compliance.tenancy.actions import create_organization
user = User.objects.create_user("alice@example.org", "correct-horse-battery", name="Alice")
create_organization(name="Alpha", by=user, slug="alpha")
session = SessionStore()
session[SESSION_KEY] = str(user.pk)
session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
session[HASH_SESSION_KEY] = user.get_session_auth_hash()
session.save()
print("session", session.session_key)
"""


def test_the_web_recovers_from_a_restart_of_the_database(tmp_path: Path) -> None:
    with services(tmp_path / "data", durable=False) as running:
        env = {**os.environ, **running.environment()}

        def manage(*arguments: str) -> str:
            return subprocess.run(
                [sys.executable, "manage.py", *arguments], cwd=ROOT, env=env, check=True, capture_output=True, text=True
            ).stdout

        manage("migrate", "--verbosity=0")
        key = next(
            line.split()[1] for line in manage("shell", "--command", _SEED).splitlines() if line.startswith("session ")
        )
        with (
            web(tmp_path / "web.log", tmp_path / "static", env=running.environment()) as address,
            httpx.Client(base_url=address, cookies={"assay_session": key}, timeout=20) as client,
        ):
            get: Callable[[str], httpx.Response] = client.get
            pages = [get("/o/alpha/").status_code for _ in range(8)]
            assert pages == [200] * 8, "warm connections in every thread"
            running.postgres.stop()
            away = get("/o/alpha/")
            assert away.status_code == 500
            assert "Something broke on our side" in away.text
            assert (get("/healthz").status_code, get("/readyz").status_code) == (200, 503)
            running.postgres.start()
            wait_for(lambda: get("/readyz").status_code == 200, what="readiness")
            pages = [get("/o/alpha/").status_code for _ in range(16)]
            assert pages == [200] * 16
